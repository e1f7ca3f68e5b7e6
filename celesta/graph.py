"""Tracing: a workflow's function is run once with promises, and each task called inside becomes a step of a graph.

`trace` is called by `celesta.workflows`, `current_trace` and `Trace.call` by tasks that are called while one goes on.
A graph holds Python values; `celesta.spec` turns it into data. Types, names and numbers of inputs are checked here, at
the user's line, before anything runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from celesta.errors import CelestaError, LoadError, Problem, SpecError
from celesta.frames import last_line, own_traceback, place_of, user_line
from celesta.interface import Interface
from celesta.placing import place, place_items
from celesta.promises import Outputs, Promise
from celesta.types import FAILURE_TYPE, TypeDoc, gathered

if TYPE_CHECKING:
    from celesta.branching import Branch, Merge
    from celesta.references import Referenced
    from celesta.tasks import Task

    Traced: TypeAlias = "Step | Branch | Merge | Referenced"

STEP_NAME = re.compile(r"\w[\w.\- ]*")
MOST_NESTED = 32
"""How deep workflows may call each other, and dynamic steps lie in each other."""
FAILURE = "!failure"
"""In the place of a step's path, for what is told of the failure of the run; no step can have it."""
Guard = tuple[str, bool]
"""A branch, and how it has to come out for a step to run."""


@dataclass
class Step:
    """One call of a task. `inputs` are Python values with promises inside; `mapped` names those mapped over."""

    path: str
    task: Task[..., Any]
    inputs: dict[str, Any]
    mapped: list[str] | None
    after: list[str]
    line: str
    guard: Guard | None = None
    on_failure: bool = False
    """It runs when the run has failed, and only then."""


@dataclass
class Graph:
    """A traced workflow: its steps in the order of their calls, and its outputs."""

    name: str
    doc: str
    function: Callable[..., Any]
    interface: Interface
    steps: list[Traced]
    outputs: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    """What its author said of whole runs, as in the spec."""


@dataclass
class Trace:
    """One tracing that goes on: what was called so far. `guard` is that of the branch whose side is being traced."""

    steps: list[Traced] = field(default_factory=list)
    guard: Guard | None = None
    on_failure: bool = False
    """What is called now runs when the run has failed."""
    _paths: set[str] = field(default_factory=set)
    _scopes: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)
    _tasks: dict[str, Task[..., Any]] = field(default_factory=dict)
    _prefix: str = ""

    def call(self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A step that runs once. Returns its promise, or its `Outputs` when they have names."""
        bound, problems = task.interface.bind(args, kwargs)
        inputs = {name: bound.get(name, one.default) for name, one in task.interface.inputs.items()}
        for name, value in bound.items():
            if name in inputs:
                problems += place(value, task.interface.inputs[name].type, name, self)
        return self._add(task, inputs, None, problems)

    def map(self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A step for each item. Its outputs are lists."""
        bound, problems = task.interface.bind(args, kwargs)
        inputs = {name: one.default for name, one in task.interface.inputs.items()}
        mapped: dict[str, int | None] = {}
        for name, value in bound.items():
            if name not in inputs:
                continue
            type_doc = task.interface.inputs[name].type
            if isinstance(value, unmapped):
                inputs[name] = value.value
                problems += place(value.value, type_doc, name, self)
            else:
                inputs[name], mapped[name], wrong = place_items(value, type_doc, name, self)
                problems += wrong
        return self._add(task, inputs, list(mapped), problems + _widths(mapped))

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Puts the steps of a workflow that is called by this one under its name."""
        before = self._prefix
        if before.count("/") >= MOST_NESTED:
            raise SpecError(
                f'{user_line()}: workflows call each other {MOST_NESTED} deep, "{name}" among them; a workflow that '
                "calls itself is traced without end: loop in its body, or let a task decide"
            )
        scope = self._free(before + name, self._scopes)
        self._prefix = scope + "/"
        try:
            yield
        finally:
            self._prefix = before

    def _add(
        self, task: Task[..., Any], inputs: dict[str, Any], mapped: list[str] | None, problems: list[Problem]
    ) -> Any:
        line = user_line()
        known = self._tasks.setdefault(task.name, task)
        if known.function is not task.function or known.interface != task.interface:
            where = f"{place_of(known.function)} and {place_of(task.function)}"
            problems.append(Problem("", f'two tasks are named "{task.name}" ({where}): give one @task(name=...)'))
        after = paths_of(task.after, problems, self)
        if problems:
            call = f"{task.name}.map(...)" if mapped is not None else f"{task.name}(...)"
            raise SpecError(f"{line}: {call} cannot run", problems)
        path = self._path(task, line)
        self.steps.append(Step(path, task, inputs, mapped, after, line, self.guard, self.on_failure))
        return self._result(task, path, mapped is not None)

    def take_path(self, name: str) -> str:
        """A path of that name for a step without a task."""
        return self._free(self._prefix + name, self._paths)

    def _path(self, task: Task[..., Any], line: str) -> str:
        if task.step_name is None:
            return self._free(self._prefix + task.name, self._paths)
        path = self._prefix + task.step_name
        if path in self._paths:
            raise SpecError(f'{line}: there is a step "{path}" already: give this one another name')
        self._paths.add(path)
        return path

    def _free(self, base: str, taken: set[str]) -> str:
        count = self._counts.get(base, 0) + 1
        while (path := base if count == 1 else f"{base}#{count}") in taken:
            count += 1
        self._counts[base] = count
        taken.add(path)
        return path

    def _result(self, task: Task[..., Any], path: str, is_map: bool) -> Any:
        interface, ratio = task.interface, task.overrides.get("min_success_ratio")
        promises = {
            name: Promise(self, path, name, gathered(doc, ratio) if is_map else doc)
            for name, doc in interface.outputs.items()
        }
        if interface.outputs and interface.record is None:
            return promises["result"]
        return Outputs(self, path, promises, unpacks=issubclass(interface.record or object, tuple))


class unmapped:  # noqa: N801  # reads as a word in `train.map(data=unmapped(data))`
    """An input of `.map` that is the same for each item."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_trace: ContextVar[Trace | None] = ContextVar("celesta_trace", default=None)


def current_trace() -> Trace | None:
    """The tracing that goes on, if any: a task called now is a step, not a plain call."""
    return _trace.get()


def trace(
    name: str,
    function: Callable[..., Any],
    interface: Interface,
    given: Mapping[str, Any] | None = None,
    on_failure: Callable[..., Any] | None = None,
) -> Graph:
    """Runs the function with a promise for each input, or with the values that are given; then `on_failure`.

    Raises `SpecError` naming the user's line, and `LoadError` when the function itself raises.
    """
    going = Trace()
    where = f'{place_of(function)}: {"workflow" if given is None else "dynamic task"} "{name}"'
    mark = _trace.set(going)
    try:
        promises = {n: Promise(going, None, n, one.type) for n, one in interface.inputs.items()}
        returned = function(**(promises if given is None else given))
        if on_failure is not None:
            _trace_failure(name, on_failure, promises, going)
    except CelestaError:
        raise
    except Exception as error:
        if given is not None:
            raise
        told = f"{where} failed while its steps were traced: {last_line(error)}"
        raise LoadError(told, own_traceback(error)) from error
    finally:
        _trace.reset(mark)
    outputs, interface = checked_outputs(where, interface, returned, going)
    doc = (function.__doc__ or "").strip()
    return Graph(name, doc, function, interface, going.steps, outputs)


def _trace_failure(name: str, on_failure: Callable[..., Any], promises: dict[str, Promise], going: Trace) -> None:
    """What runs when a run has failed. It takes `failure`, and inputs of the workflow by their names."""
    known = {"failure": Promise(going, FAILURE, "failure", FAILURE_TYPE)} | promises
    wanted = list(inspect.signature(on_failure).parameters)
    unknown = [parameter for parameter in wanted if parameter not in known]
    if unknown:
        raise SpecError(
            f'workflow "{name}": on_failure takes "{unknown[0]}", which it cannot be given; it may take '
            f"{', '.join(known)}"
        )
    going.on_failure = True
    with going.inside("on_failure"):
        count = len(going.steps)
        on_failure(**{parameter: known[parameter] for parameter in wanted})
    added = going.steps[count:]
    if not added or not all(isinstance(step, Step) for step in added):
        raise SpecError(f'workflow "{name}": on_failure calls tasks, at least one, and no branches or references')


def checked_outputs(where: str, interface: Interface, returned: Any, going: Trace) -> tuple[dict[str, Any], Interface]:
    """What a traced function returned, by output, and its interface with what no hint told. Raises `SpecError`, which
    begins with `where` the function is and what it is called."""
    if not interface.returns_hinted:
        interface = dataclasses.replace(interface, outputs=_guessed(returned))
    if not interface.outputs:
        if returned is not None and not isinstance(returned, Outputs):
            raise SpecError(f"{where} returns a value, but its hint says None: write what it returns")
        return {}, interface
    fields = _fields(returned, interface)
    if fields is None:
        told = repr(returned) if isinstance(returned, Outputs) else f"a {type(returned).__name__}"
        raise SpecError(
            f"{where} returns {told}, but its hint says that its outputs are {', '.join(interface.outputs)}"
        )
    problems: list[Problem] = []
    for output, doc in interface.outputs.items():
        problems += place(fields[output], doc, output, going)
    if problems:
        raise SpecError(f"{where} returns what does not fit its hint", problems)
    return fields, interface


def _guessed(returned: Any) -> dict[str, TypeDoc]:
    """Outputs of a workflow whose author wrote no return hint."""
    if returned is None:
        return {}
    if isinstance(returned, Outputs):
        return {name: promise._type for name, promise in returned._by_name.items()}
    return {"result": returned._type if isinstance(returned, Promise) else {"kind": "any"}}


def _fields(returned: Any, interface: Interface) -> dict[str, Any] | None:
    names = list(interface.outputs)
    if isinstance(returned, Outputs):
        return dict(returned._by_name) if list(returned._by_name) == names and names else None
    if interface.record is None:
        return {"result": returned}
    if isinstance(returned, interface.record):
        return {name: getattr(returned, name) for name in names}
    return None


def _widths(mapped: Mapping[str, int | None]) -> list[Problem]:
    if not mapped:
        return [Problem("", "nothing is mapped over: give a list for at least one input that is not unmapped(...)")]
    known = {name: width for name, width in mapped.items() if width is not None}
    if len(set(known.values())) > 1:
        return [
            Problem("", "lists of one length are mapped over: " + ", ".join(f"{n} has {w}" for n, w in known.items()))
        ]
    return []


def paths_of(after: Any, problems: list[Problem], going: Trace) -> list[str]:
    """Steps that a call waits for without taking their outputs, in the order given and each once."""
    paths: list[str] = []
    for one in after if isinstance(after, list | tuple) else [after]:
        if isinstance(one, Promise | Outputs) and one._trace is going and one._path is not None:
            paths.append(one._path)
        else:
            problems.append(
                Problem("after", f"expected what a step of this workflow returned, got a {type(one).__name__}")
            )
    return list(dict.fromkeys(paths))
