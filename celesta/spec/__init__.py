"""The DAG as data: what the SDK posts, the API stores and the compiler reads (contracts, section 4).

`validate` is the one set of pure checks, called by the SDK before it posts, by the API and by the compiler; it takes
any JSON and never raises. `spec_digest` is the version id. `workflow_spec` writes the spec of a workflow or task, and
runs in the SDK only: it reads the user's source, so it is loaded when it is called.
"""

from __future__ import annotations

from typing import Any

from celesta.hashing import canonical, digest_of
from celesta.spec.checks import validate

Spec = dict[str, Any]

__all__ = ["Spec", "spec_digest", "validate", "workflow_spec"]


def spec_digest(spec: Spec) -> str:
    """The identity of a version: SHA-256 of the canonical spec without what changes no result.

    That is `doc`, and what tells where it was registered from: `git` and `environment`. Steps run in the environment of
    their worker or image, and the image is an option of the task.
    """
    kept = {key: value for key, value in spec.items() if key not in ("git", "doc", "references", "environment")}
    return digest_of(canonical(kept))


def workflow_spec(subject: Any, *, file: str | None = None) -> tuple[Spec, dict[str, bytes]]:
    """The spec of a workflow or a single task, and every blob that it names: constants and the code bundle, by digest.

    Raises `SpecError` with all that is wrong, at the user's line where there is one.
    """
    from celesta.spec.write import write_spec

    return write_spec(subject, file)
