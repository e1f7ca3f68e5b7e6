"""`@workflow`: a function whose calls of tasks are a DAG.

Called outside a trace it is its function, run as plain Python. Called inside another workflow its steps are put under
its name. `graph()` traces it; `celesta.spec.workflow_spec` does that for whoever registers or launches it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from celesta.errors import SpecError
from celesta.frames import place_of, user_line
from celesta.graph import Graph, Step, checked_outputs, current_trace, trace
from celesta.interface import Interface, interface_of
from celesta.options import read_run_options
from celesta.placing import place
from celesta.promises import Promise
from celesta.tasks import Task, checked_name, plain_workflow

P = ParamSpec("P")
R = TypeVar("R")


class Workflow(Generic[P, R]):
    """A function with a name and an interface, that can be traced. Made by `@workflow`."""

    def __init__(
        self,
        function: Callable[P, R],
        name: str,
        options: dict[str, Any] | None = None,
        on_failure: Callable[..., Any] | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.interface: Interface = interface_of(function, f'workflow "{name}"')
        # What is said of whole runs counts where it is run, not where another workflow calls it.
        self.options = options or {}
        self.on_failure = on_failure
        self.step_name: str | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        going = current_trace()
        if going is None:
            return self._plain(*args, **kwargs)
        bound, problems = self.interface.bind(args, kwargs)
        for name, value in bound.items():
            if name in self.interface.inputs:
                problems += place(value, self.interface.inputs[name].type, name, going)
        if problems:
            raise SpecError(f"{user_line()}: {self.name}(...) cannot run", problems)
        with going.inside(self.step_name or self.name):
            returned = self.function(*args, **kwargs)
        checked_outputs(self._where(), self.interface, returned, going)
        return returned

    def with_options(self, *, name: str) -> Workflow[P, R]:
        """This workflow for one call inside another, with its steps under another name."""
        changed: Workflow[P, R] = Workflow(self.function, self.name, self.options, self.on_failure)
        changed.step_name = checked_name(name, user_line())
        return changed

    def graph(self) -> Graph:
        """Traces it. Raises `SpecError` at the user's line for whatever cannot run."""
        if current_trace() is not None:
            raise SpecError(f'{user_line()}: workflow "{self.name}" cannot be traced inside another: call it')
        graph = trace(self.name, self.function, self.interface, on_failure=self.on_failure)
        if all(isinstance(step, Step) and step.on_failure for step in graph.steps):
            raise SpecError(
                f"{self._where()} calls no task, so a run of it would do nothing: call at least one; what needs no "
                "step is a plain function"
            )
        graph.options = self.options
        return graph

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}>"

    def _where(self) -> str:
        return f'{place_of(self.function)}: workflow "{self.name}"'

    def _plain(self, *args: P.args, **kwargs: P.kwargs) -> R:
        mark = plain_workflow.set(True)
        try:
            return self.function(*args, **kwargs)
        finally:
            plain_workflow.reset(mark)


@overload
def workflow(function: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    timeout: Any = None,
    policy: str = "continue",
    on_failure: Any = None,
    max_parallel: int | None = None,
) -> Callable[[Callable[P, R]], Workflow[P, R]]: ...
def workflow(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Makes a workflow of a function: `@workflow`, or `@workflow(timeout="2h", policy="fail_fast")`.

    timeout: how long a run of it may take, from its start; then its steps are ended, and the run has failed.
    policy: after a failed step, `"continue"` (the default) runs whatever does not need it, `"fail_fast"` ends the rest.
    on_failure: a task that takes `failure`, or a function that calls tasks with it (and with inputs of the workflow);
    they run when the run has failed, before it ends. `failure` is a dict: run, project, workflow, path, type, message,
    kind.
    max_parallel: how many of its steps may be at work at once.
    """
    if function is None:
        return functools.partial(_make, name=name, options=options)
    return _make(function, name, options)


def graph_of(subject: Workflow[..., Any] | Task[..., Any]) -> Graph:
    """The graph of a workflow, or of a single task: one step, with the task's name and interface."""
    if isinstance(subject, Workflow):
        return subject.graph()
    if not isinstance(subject, Task):
        raise SpecError(
            f"{user_line()}: {subject!r} is neither a workflow nor a task: decorate it with @workflow or @task"
        )
    interface = subject.interface
    inputs = {name: Promise(None, None, name, one.type) for name, one in interface.inputs.items()}
    step = Step(subject.step_name or subject.name, subject, dict(inputs), None, [], place_of(subject.function))
    outputs = {name: Promise(None, step.path, name, doc) for name, doc in interface.outputs.items()}
    doc = (subject.function.__doc__ or "").strip()
    return Graph(subject.name, doc, subject.function, interface, [step], dict(outputs))


def _make(function: Callable[P, R], name: str | None, options: dict[str, Any]) -> Workflow[P, R]:
    if not inspect.isfunction(function):
        raise SpecError(f"{user_line()}: @workflow takes a function, and {function!r} is none")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise SpecError(
            f'{place_of(function)}: workflow "{function.__name__}" is async or a generator; write a plain function: '
            "its body only joins steps, and tasks may be async"
        )
    called = checked_name(name or function.__name__, place_of(function))
    where = f'{place_of(function)}: workflow "{called}"'
    on_failure = options.pop("on_failure", None)
    if on_failure is not None and not callable(on_failure):
        raise SpecError(f"{where}: on_failure is a task, or a function that calls tasks, not {on_failure!r}")
    return Workflow(function, called, read_run_options(options, where), on_failure)
