"""`@dynamic`: a task whose body calls other tasks while it runs; what it calls becomes a part of the run.

Called by users as a decorator, and by a step (`celesta.runtime.call`) for what its body traces. Outside a workflow it
is its function. Refuses to be cached: the tasks that it calls are.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, overload

from celesta.errors import SpecError
from celesta.frames import place_of
from celesta.graph import Graph, trace
from celesta.tasks import Task, made

P = ParamSpec("P")
R = TypeVar("R")
Document = dict[str, Any]


class Dynamic(Task[P, R]):
    """A task that is traced when it runs, with the values of its inputs. Made by `@dynamic`."""

    kind = "dynamic"

    def __init__(self, function: Callable[P, R], name: str, options: dict[str, Any]) -> None:
        if inspect.iscoroutinefunction(function):
            raise SpecError(
                f'{place_of(function)}: dynamic task "{name}" is async; write a plain function: it joins steps'
            )
        super().__init__(function, name, options)
        self._refuse_cache(options)

    def with_options(self, **options: Any) -> Any:
        changed = super().with_options(**options)
        self._refuse_cache(changed.overrides)
        return changed

    def traced(self, arguments: Mapping[str, Any]) -> Graph:
        """What the body does with these inputs. Raises as tracing a workflow does, and what the body raises."""
        graph = trace(self.name, self.function, self.interface, arguments)
        return replace(graph, interface=replace(graph.interface, inputs={}))

    def __repr__(self) -> str:
        return f"<dynamic task {self.name!r}>"

    def _refuse_cache(self, options: Mapping[str, Any]) -> None:
        if options.get("cache") is not None:
            told = f'{place_of(self.function)}: dynamic task "{self.name}" cannot be cached'
            raise SpecError(f"{told}: say cache= of the tasks that it calls")


@overload
def dynamic(function: Callable[P, R], /) -> Dynamic[P, R]: ...
@overload
def dynamic(*, name: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Dynamic[P, R]]: ...
def dynamic(function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Makes a task whose body may call tasks: `@dynamic`, or `@dynamic(retries=2, ...)`; options are those of `@task`.

    The body runs in a step, with the values of its inputs, so plain Python decides which tasks are called. What they
    give is known later, as in a workflow. Its steps lie below the step (`grow/fit`).
    """
    if function is None:
        return functools.partial(made, Dynamic, name=name, options=options)
    return made(Dynamic, function, name, options)


def written(graph: Graph, document: Mapping[str, Any], store: Any) -> str:
    """The digest of the spec of what a dynamic step traced, durable in the store with all that it names."""
    from celesta.hashing import canonical
    from celesta.spec.write import write_traced

    spec, blobs = write_traced(graph, document["bundle"])
    for data in blobs.values():
        store.put_blob(data)
    digest: str = store.put_blob(canonical(spec))
    return digest
