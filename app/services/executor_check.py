"""Refuses to launch what nothing in this deployment can run: a command in a container, where steps are processes.

Executors of a dotted path are not known here; they say themselves, when the step comes, what they cannot run.
"""

from app.compiler.plan import Plan
from app.config import Config
from celesta.errors import InputError, Problem

WITHOUT_CONTAINERS = frozenset({"process"})
"""The known executors that run Python tasks only."""
MOST_PROBLEMS = 20


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
