"""Pod templates of the operator's files: what is wanted of the pods of a project, and of those that may be taken away.

Files are read where they are used, so that a changed one counts for the next pod. What they ask for is the operator's
business; only a task's own template is held against what the operator allows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from celesta.errors import ConfigError
from celesta.pod_template import pod_template_problems

Document = dict[str, Any]


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
