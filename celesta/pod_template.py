"""Pod templates: what a task, a project or a deployment wants of the pods of its steps. Their form is checked here.

The option `pod_template` is checked where the task is declared, a file of the operator where it is read; both by
`pod_template_problems`. What its fields mean is for the cluster to say, and what they may ask for is for the operator
(`app.services.pod_check`). Templates are merged as `kubectl patch` does (`merge`). Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from celesta.errors import Problem

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""The lists that are merged item by item, and by what, as in Kubernetes' strategic merge. Others are replaced."""

_PARTS = frozenset(("apiVersion", "kind", "metadata", "spec"))
_METADATA = frozenset(("labels", "annotations"))
_QUANTITY = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE]\d+|[numkMGTPE]|[KMGTPE]i)?")


def merge(under: Any, over: Any) -> Any:
    """`over` patched onto `under`; neither is changed.

    Maps key by key, the lists of `MERGE_KEYS` item by item, all others as a whole; null takes away.
    """
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    merged = dict(under)
    for name, value in over.items():
        if value is None:
            merged.pop(name, None)
        elif name in MERGE_KEYS and isinstance(value, list) and isinstance(merged.get(name), list):
            merged[name] = _merge_lists(name, merged[name], value)
        elif isinstance(value, Mapping):
            merged[name] = merge(merged.get(name) if isinstance(merged.get(name), Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def _merge_lists(name: str, under: list[Any], over: list[Any]) -> list[Any]:
    key = MERGE_KEYS[name]
    merged = {item[key]: item for item in under}
    for item in over:
        if item.get("$patch") == "delete":
            merged.pop(item[key], None)
            continue
        before = merged.get(item[key], {})
        if name == "volumes" and item.keys() - before.keys():  # a volume has one source: the new one takes its place
            before = {}
        merged[item[key]] = merge(before, item)
    return list(merged.values())


def pod_template_problems(template: Any) -> Iterator[Problem]:
    """All that keeps a document from being merged into a pod."""
    if not isinstance(template, Mapping):
        yield Problem("", "a pod template is an object with metadata and spec")
        return
    if template.get("kind", "Pod") not in ("Pod", "PodTemplate"):
        yield Problem("kind", f"is {template['kind']!r}; a pod is wanted")
    for name in sorted(template.keys() - _PARTS, key=str):
        yield Problem(str(name), f"is no part of a pod template; they are {', '.join(sorted(_PARTS))}")
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    if not isinstance(metadata, Mapping):
        yield Problem("metadata", "is no object")
    else:
        for name in sorted(metadata.keys() - _METADATA, key=str):
            yield Problem(f"metadata.{name}", "is not for a template to say; labels and annotations are")
    if isinstance(spec, Mapping):
        yield from _spec_problems(spec)
    else:
        yield Problem("spec", "is no object")


def _spec_problems(spec: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _list_problems(spec, "spec")
    for group in ("containers", "initContainers"):
        found = spec.get(group)
        for index, container in enumerate(found if isinstance(found, list) else ()):
            if isinstance(container, Mapping):
                where = f"spec.{group}[{index}]"
                yield from _list_problems(container, where)
                yield from _quantity_problems(container.get("resources"), f"{where}.resources")


def _list_problems(owner: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for name, key in MERGE_KEYS.items():
        items = owner.get(name)
        if items is not None and not isinstance(items, list):
            yield Problem(f"{where}.{name}", "is no list")
            continue
        for index, item in enumerate(items or ()):
            if not isinstance(item, Mapping) or key not in item:
                yield Problem(f"{where}.{name}[{index}]", f"has no {key}, by which it is merged")


def _quantity_problems(resources: Any, where: str) -> Iterator[Problem]:
    groups = resources if isinstance(resources, Mapping) else {}
    if resources is not None and not isinstance(resources, Mapping):
        yield Problem(where, "is no object with requests and limits")
    for group in ("requests", "limits"):
        amounts = groups.get(group) or {}
        if not isinstance(amounts, Mapping):
            yield Problem(f"{where}.{group}", "is no object of quantities by resource")
            continue
        for name, value in amounts.items():
            if isinstance(value, bool) or not _QUANTITY.fullmatch(str(value)):
                yield Problem(f"{where}.{group}.{name}", f"{value!r} is no quantity; write 500m, 2 or 4Gi")
