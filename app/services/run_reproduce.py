"""Reproduces a run: the same version with the same inputs, every step computed anew.

What came of it is told by `reproduction_query`.
"""

from typing import Any

from app.access import Principal
from app.config import Config
from app.models import Project, Run
from app.services.run_launch import Origin, launch_run
from celesta.errors import ConflictError
from celesta.store import Store


def reproduce_run(
    session: Any,
    config: Config,
    store: Store,
    principal: Principal,
    project: Project,
    run: Run,
    idempotency_key: str | None = None,
) -> Run:
    """The new run, queued; it reads nothing from the cache and leaves nothing in it.

    Raises `ConflictError` while the run has not ended, `InputError` when an input of it is not in the store any more.
    """
    if run.recorded_at is None:
        raise ConflictError(f"the run {run.id} has not ended yet; wait for it: celesta runs watch {run.id}")
    return launch_run(
        session,
        config,
        store,
        principal,
        project,
        workflow=run.workflow_name,
        version=run.version.digest,
        input_refs=run.inputs,
        options={"no_cache": True},
        idempotency_key=idempotency_key,
        origin=Origin(run.id, "reproduction"),
    )
