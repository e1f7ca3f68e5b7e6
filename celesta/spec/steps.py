"""Steps of a valid spec: which waits for which. Pure; for linking, for local runs, for whoever walks a DAG by paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Step = dict[str, Any]


def parents_of(step: Step) -> list[str]:
    """The paths of the steps that this one waits for, each once."""
    found = dict.fromkeys(step.get("after") or ())
    if step.get("guard"):
        found[step["guard"]["step"]] = None
    if "merge" in step:
        found[step["merge"]] = None
    bindings = list(step["inputs"].values())
    while bindings:
        binding = bindings.pop()
        if "step" in binding:
            found[binding["step"]] = None
        bindings += binding.get("list") or (binding.get("dict") or {}).values()
    return list(found)


def in_order(steps: list[Step]) -> Iterator[tuple[int, Step]]:
    """The steps with their index, parents first, and otherwise as they are written. There is no cycle (validated)."""
    number = {step["path"]: index for index, step in enumerate(steps)}
    done: set[int] = set()
    for first in range(len(steps)):
        waiting = [first]
        while waiting:
            index = waiting[-1]
            missing = [number[parent] for parent in parents_of(steps[index]) if number[parent] not in done]
            if missing:
                waiting.append(missing[0])
                continue
            waiting.pop()
            if index not in done:
                done.add(index)
                yield index, steps[index]
