"""The part of kustomize that our manifests use, for machines without kubectl. Where there is one, a test compares.

Reads resources, components, a namespace, images, replicas and patches of maps. Refuses anything else, so
that a manifest cannot use what is not rendered here.
"""

from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "images", "replicas", "patches"}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def render(folder: Path) -> list[Document]:
    """The objects that `kubectl kustomize` prints for this folder, in another order."""
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(plan) - KNOWN:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))} is not rendered by the tests")
    found = [one for name in plan.get("resources", []) for one in _load((folder / name).resolve())]
    for name in plan.get("components", []):
        found += render((folder / name).resolve())
    for document in found:
        _place(document, plan.get("namespace"))
    for image in plan.get("images", []):
        _replace_images(found, image["name"], f"{image['newName']}:{image['newTag']}")
    for one in plan.get("replicas", []):
        _of(found, one["name"], "Deployment")["spec"]["replicas"] = one["count"]
    for patch in plan.get("patches", []):
        change = yaml.safe_load(patch["patch"])
        _merge(_of(found, change["metadata"]["name"], change["kind"]), change)
    return found


def _load(path: Path) -> list[Document]:
    return render(path) if path.is_dir() else [one for one in yaml.safe_load_all(path.read_text()) if one]


def _place(document: Document, namespace: str | None) -> None:
    if namespace and document["kind"] not in CLUSTER_WIDE:
        document["metadata"]["namespace"] = namespace


def _of(documents: list[Document], name: str, kind: str) -> Document:
    (found,) = [one for one in documents if one["metadata"]["name"] == name and one["kind"] == kind]
    return found


def _replace_images(part: Any, name: str, image: str) -> None:
    if isinstance(part, list):
        for one in part:
            _replace_images(one, name, image)
    elif isinstance(part, dict):
        if str(part.get("image", "")).partition(":")[0] == name:
            part["image"] = image
        for one in part.values():
            _replace_images(one, name, image)


def _merge(into: Document, change: Document) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list):
            raise ValueError(f"a patch of the list {key!r} is not rendered by the tests")
        else:
            into[key] = value
