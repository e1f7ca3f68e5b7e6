"""Refuses what nothing in this deployment can run: a step with an executor that does not exist, when its workflow is
registered; a command in a container, where steps are processes, when it is launched.

Executors of a dotted path are not known here; they say themselves, when the step comes, what they cannot run.
"""

from typing import Any

from app.compiler.plan import Plan
from app.config import Config
from celesta.errors import InputError, Problem, SpecError

KNOWN = frozenset({"docker", "kubernetes", "process"})
"""Names of executors; the workers have their classes."""
WITHOUT_CONTAINERS = frozenset({"process"})
"""The known executors that run Python tasks only."""
MOST_PROBLEMS = 20


def require_known_executors(spec: dict[str, Any]) -> None:
    """Raises `SpecError` naming the tasks and steps of a valid spec whose executor does not exist."""
    named = [(f"tasks.{name}", task) for name, task in spec["tasks"].items()]
    named += [(f"steps.{step['path']}.options", step.get("options") or {}) for step in spec["steps"]]
    problems = [
        Problem(f"{where}.executor", f'there is no executor "{name}": known are {", ".join(sorted(KNOWN))}')
        for where, options in named
        if (name := options.get("executor")) and ":" not in name and name not in KNOWN
    ]
    if problems:
        raise SpecError("no worker of this deployment could run these", problems[:MOST_PROBLEMS])


def require_executors(plan: Plan, config: Config) -> None:
    """Raises `InputError` naming the steps that no executor of this deployment can run."""
    commands = {index for index, task in enumerate(plan.tasks) if task["kind"] == "container"}
    if not commands:
        return
    problems = [
        Problem(f"steps.{step['path']}", f'is a command in a container, and its executor is "{name}"')
        for step in plan.steps
        if step.get("task") in commands and (name := step.get("executor") or config.executor) in WITHOUT_CONTAINERS
    ]
    if problems:
        raise InputError(
            "no executor of this deployment runs these steps; set CELESTA_EXECUTOR to docker or kubernetes, or name "
            "one of them as the task's executor",
            problems[:MOST_PROBLEMS],
        )
