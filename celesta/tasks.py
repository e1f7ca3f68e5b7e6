"""`@task`: a function as a reusable unit of work.

Called outside a workflow a task is its function. Called while a workflow is traced it becomes a step. The options are
those of `celesta.options`; the interface is read when the function is decorated, so a wrong hint is an error there.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar, overload

from celesta.coroutines import run_coroutine
from celesta.errors import Problem, SpecError
from celesta.frames import place_of, user_line
from celesta.graph import STEP_NAME, current_trace, unmapped
from celesta.interface import Interface, interface_of
from celesta.options import read_options

P = ParamSpec("P")
R = TypeVar("R")

# On while a workflow runs as plain Python: an async task called there is run to its end, as a step would be.
plain_workflow: ContextVar[bool] = ContextVar("celesta_plain_workflow", default=False)


MAP_OPTIONS = ("concurrency", "min_success_ratio")


class Task(Generic[P, R]):
    """A function with a name, an interface and options. Made by `@task`; `with_options` makes a copy for one call."""

    kind = "python"

    def __init__(self, function: Callable[P, R], name: str, options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._set_up(function, name, interface_of(function, f'task "{name}"'), options)
        self._check_ignored(options, place_of(function))

    def _set_up(self, function: Callable[P, R], name: str, interface: Interface, options: dict[str, Any]) -> None:
        """What every task has, also one without a function of the user's."""
        self.function = function
        self.name = name
        self.interface = interface
        self.options = options  # as in the spec's task document; only what was given
        self.overrides: dict[str, Any] = {}  # the same, given by with_options
        self.step_name: str | None = None
        self.after: Sequence[Any] = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        trace = current_trace()
        if trace is not None:
            found: R = trace.call(self, args, kwargs)
            return found
        return self._plain(args, kwargs)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """One step for each item of the lists that are given; what is `unmapped(...)` is the same for each.

        `concurrency=` is how many of them may be at work at once. With `min_success_ratio=` (above 0, at most 1) the
        map succeeds when so many of its items do, and has None in the place of the others.
        """
        own = {name: kwargs.pop(name) for name in MAP_OPTIONS if name in kwargs and name not in self.interface.inputs}
        trace = current_trace()
        if trace is None:
            return self._plain_map(args, kwargs)
        return trace.map(self._for_map(**own) if own else self, args, kwargs)

    def _for_map(self, min_success_ratio: float | None = None, **options: Any) -> Task[P, R]:
        changed = self.with_options(**options)
        if min_success_ratio is not None:
            changed.overrides["min_success_ratio"] = checked_ratio(min_success_ratio, user_line())
        return changed

    def with_options(self, *, name: str | None = None, after: Any = (), **options: Any) -> Task[P, R]:
        """This task for one call: `name` is the step's path, `after` the steps it waits for, the rest are options."""
        line = user_line()
        changed = copy.copy(self)
        changed.overrides = {**self.overrides, **read_options(options, f'{line}: task "{self.name}"')}
        self._check_ignored(changed.overrides, line)
        changed.after = after if isinstance(after, list | tuple) else [after]
        if name is not None:
            changed.step_name = checked_name(name, line)
        return changed

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        raise SpecError(f'{user_line()}: task "{self.name}" is a method; a step has no object: write a function')

    def _plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> R:
        from celesta.runtime.context import plain_call

        with plain_call(self.name):
            result: Any = self.function(*args, **kwargs)
            if inspect.iscoroutine(result) and plain_workflow.get():
                result = run_coroutine(result)
        whole: R = result
        return whole

    def _plain_map(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        bound, problems = self.interface.bind(args, kwargs)
        same = {name: value.value for name, value in bound.items() if isinstance(value, unmapped)}
        lists = {name: list(value) for name, value in bound.items() if name not in same}
        if not lists or len({len(items) for items in lists.values()}) > 1:
            problems.append(Problem("", "map over at least one list; all lists have one length"))
        if problems:
            raise SpecError(f"{user_line()}: {self.name}.map(...) cannot run", problems)
        mark = plain_workflow.set(True)
        try:
            items = zip(*lists.values(), strict=True)
            return MappedResults(self._plain((), same | dict(zip(lists, item, strict=True))) for item in items)
        finally:
            plain_workflow.reset(mark)

    def _check_ignored(self, options: Mapping[str, Any], where: str) -> None:
        ignored = (options.get("cache") or {}).get("ignore", [])
        wrong = [name for name in ignored if name not in self.interface.inputs]
        if wrong:
            raise SpecError(
                f'{where}: task "{self.name}": Cache(ignore=...) names "{wrong[0]}", which is no input of it'
            )


class MappedResults(list[Any]):
    """What a plain `.map` returns: a list; the name of an output gives the list of that output."""

    def __getattr__(self, name: str) -> list[Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return [getattr(item, name) for item in self]


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Makes a task of a function: `@task`, or `@task(cache=True, retries=2, timeout=600, ...)`.

    Options: cache, retries, timeout, resources, env, secrets, executor, image, labels; `name` when it is not the
    function's. Raises `SpecError` with all that is wrong with the options or the signature.
    """
    if function is None:
        return functools.partial(made, Task, name=name, options=options)
    return made(Task, function, name, options)


def made(kind: type[Task[P, R]], function: Callable[P, R], name: str | None, options: dict[str, Any]) -> Task[P, R]:
    """A task of that kind. Raises `SpecError` for what is no function, and for names and options that are not valid."""
    if isinstance(function, Task) or not inspect.isfunction(function):
        raise SpecError(f"{user_line()}: @task takes a function, not a {type(function).__name__}; {_instead(function)}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(f'{place_of(function)}: task "{function.__name__}" is a generator: return a list instead')
    called = checked_name(name or function.__name__, place_of(function))
    return kind(function, called, read_options(options, f'{place_of(function)}: task "{called}"'))


def _instead(given: Any) -> str:
    if isinstance(given, Task):
        return "it is a task already"
    if callable(getattr(given, "__wrapped__", None)):
        return "decorate the function itself, below the other decorator"
    return "write a function that calls it"


def checked_ratio(ratio: float, line: str) -> float:
    """The ratio, when a map can succeed by it."""
    if isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0 < ratio <= 1:
        return float(ratio)
    raise SpecError(f"{line}: min_success_ratio={ratio!r} is not a number above 0 and at most 1, such as 0.9")


def checked_name(name: str, line: str) -> str:
    """The name, when a step's path can be made of it."""
    if isinstance(name, str) and STEP_NAME.fullmatch(name):
        return name
    raise SpecError(
        f"{line}: {name!r} is no name: use letters, digits, _ - . and spaces, beginning with a letter or digit"
    )
