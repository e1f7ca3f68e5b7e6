"""`reference("project/name@version")`: a registered workflow or task, called in a workflow by its name.

Called by users, in a workflow's body. What it takes and gives is known to the server only, which checks it when the
workflow is registered, and pins the version. Refuses to run without a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celesta.errors import Problem, SpecError
from celesta.frames import user_line
from celesta.graph import Guard, current_trace, paths_of
from celesta.placing import place
from celesta.promises import Promise
from celesta.spec.shapes import REFERENCE
from celesta.tasks import checked_name
from celesta.types import ANY


@dataclass
class Referenced:
    """One call of a registered workflow; the server puts its steps in this one's place."""

    path: str
    reference: str
    inputs: dict[str, Any]
    after: list[str]
    guard: Guard | None
    line: str


class Reference:
    """A registered workflow or task, to be called like one that is at hand. Made by `reference`."""

    def __init__(self, name: str, step_name: str, after: Any = ()) -> None:
        self.name = name
        self.step_name = step_name
        self.after = after

    def __repr__(self) -> str:
        return f"<reference {self.name!r}>"

    def with_options(self, *, name: str | None = None, after: Any = ()) -> Reference:
        """This reference for one call: its steps lie below `name`, and begin after the steps `after`."""
        return Reference(self.name, self.step_name if name is None else checked_name(name, user_line()), after)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        line, trace = user_line(), current_trace()
        if trace is None:
            raise SpecError(
                f'{line}: "{self.name}" is registered on a server: call it in a workflow, and run that there'
            )
        problems = [p for name, value in inputs.items() for p in place(value, ANY, name, trace)]
        if args:
            problems.append(Problem("", "inputs of a registered workflow are given by name"))
        after = paths_of(self.after, problems, trace)
        if problems:
            raise SpecError(f'{line}: "{self.name}" cannot be called', problems)
        step = Referenced(trace.take_path(self.step_name), self.name, inputs, after, trace.guard, line)
        trace.steps.append(step)
        return Late(trace, step.path, "result", ANY)

    def map(self, *_: Any, **__: Any) -> Any:
        raise SpecError(f'{user_line()}: "{self.name}" cannot be mapped: call it in a loop, or map inside it')


class Late(Promise):
    """The output of a registered workflow; its attributes are its other outputs, of whatever names they have."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._output != "result":
            return super().__getattr__(name)
        return Late(self._trace, self._path, name, ANY)


def reference(name: str) -> Reference:
    """The workflow or task registered as `name`: `"project/name@version"`.

    Without a project it is one of this project; without a version (a digest, the beginning of one, or a label) it is
    the active one. It is looked up, and your right to see it is checked, when the workflow that calls it is registered:
    that version is then a part of the workflow. Its steps run its own code.
    """
    found = REFERENCE.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        told = f"{name!r} names no registered workflow"
        raise SpecError(f'{user_line()}: {told}: write "name", "project/name" or "project/name@version"')
    return Reference(name, found["name"])
