"""Pod templates of the operator's files, and how templates are merged: as `kubectl patch` does.

The merge is the strategic one: maps key by key, the lists that Kubernetes merges by the key that names their items, all
others as a whole; null takes away. Files are read where they are used, so that a changed one counts for the next pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from celesta.errors import ConfigError
from celesta.pod_template import MERGE_KEYS, pod_template_problems

Document = dict[str, Any]


def merge(under: Any, over: Any) -> Any:
    """`over` patched onto `under`; neither is changed."""
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    merged = dict(under)
    for name, value in over.items():
        if value is None:
            merged.pop(name, None)
        elif name in MERGE_KEYS and isinstance(value, list) and isinstance(merged.get(name), list):
            merged[name] = _merge_lists(merged[name], value, MERGE_KEYS[name])
        elif isinstance(value, Mapping):
            merged[name] = merge(merged.get(name) if isinstance(merged.get(name), Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def _merge_lists(under: list[Any], over: list[Any], key: str) -> list[Any]:
    merged = {item[key]: item for item in under}
    for item in over:
        if item.get("$patch") == "delete":
            merged.pop(item[key], None)
        else:
            merged[item[key]] = merge(merged.get(item[key], {}), item)
    return list(merged.values())


def check(template: Any, where: str) -> Document:
    """The template, when it is one. Raises `ConfigError` with all that keeps it from being part of a pod."""
    problems = list(pod_template_problems(template))
    if problems:
        raise ConfigError(f"{where} is no pod template", problems)
    return dict(template)


def project_template(folder: Path | None, project: str) -> Document:
    """What the operator wants of this project's pods: the file of its name, else `default.yaml`, else nothing."""
    for name in (project, "default"):
        if folder is not None and (folder / f"{name}.yaml").is_file():
            return _read(folder / f"{name}.yaml")
    return {}


def spot_template(folder: Path | None) -> Document:
    """What sends a pod to nodes that may be taken away."""
    file = None if folder is None else folder / "spot.yaml"
    return _read(file) if file is not None and file.is_file() else {}


def _read(file: Path) -> Document:
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"the pod template {file} cannot be read: {error}") from error
    return check(document or {}, f"the file {file}")
