"""The secrets of a step from the worker's own variables: those that the operator has opened to the step's project.

Called by the executors of the worker's host; pods get theirs from a Secret of their project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from celesta.errors import ContextError
from celesta.runtime.enter import secrets
from workers.executors.base import Document, ExecutorConfig


def secrets_of(document: Document, config: ExecutorConfig, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The values by name. Raises `ContextError` for a secret that is not open to the project, or has no value."""
    project, wanted = document["project"], document.get("secrets") or {}
    opened = config.secrets.get(project, {})
    for name, source in wanted.items():
        if source["env"] not in opened:
            raise ContextError(
                f'secret {name!r} of step {document["path"]!r} is not open to project "{project}"; the operator adds '
                f"{project}:{source['env']} to CELESTA_SECRETS"
            )
    found = {name: {"env": opened[source["env"]]} for name, source in wanted.items()}
    return secrets({**document, "secrets": found}, environ)


def variables_with_secrets(config: ExecutorConfig) -> set[str]:
    """The worker's variables that hold a secret of some project: no step inherits them."""
    return {variable for opened in config.secrets.values() for variable in opened.values()}
