"""Refuses, when a run is launched, secrets that the operator has not opened to its project.

In a cluster each project has a Secret of its own, so that there is nothing to open. Elsewhere values are variables of
the worker, and the workers look at the same list again.
"""

from app.compiler.plan import Plan
from app.config import Config
from celesta.errors import InputError, Problem

OF_THE_WORKER = frozenset({"docker", "process"})
"""The known executors whose steps get their secrets from the worker's variables."""
MOST_PROBLEMS = 20


def require_secrets(plan: Plan, config: Config, project: str) -> None:
    """Raises `InputError` naming the steps with secrets that are not open to the project, and what to set."""
    opened = config.secrets.get(project, {})
    closed = [
        (step["path"], name)
        for step in plan.steps
        if (step.get("executor") or config.executor) in OF_THE_WORKER
        for name in step.get("secrets") or ()
        if name not in opened
    ]
    if closed:
        wanted = ",".join(f"{project}:{name}" for name in sorted({name for _, name in closed}))
        raise InputError(
            f'the server opens no such secrets to project "{project}"; its operator adds {wanted} to CELESTA_SECRETS '
            "of the web server and the workers, and gives the workers variables of these names",
            [Problem(f"steps.{path}", f'wants secret "{name}"') for path, name in closed[:MOST_PROBLEMS]],
        )
