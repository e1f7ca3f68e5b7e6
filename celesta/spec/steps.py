"""Steps by their paths: which waits for which. Pure; for checks, linking, local runs, whoever walks a DAG."""

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


def find_cycle(parents: dict[str, list[str]]) -> list[str]:
    """The steps of one cycle, the first one again at the end; empty when there is none."""
    waiting = {path: len(above) for path, above in parents.items()}
    children: dict[str, list[str]] = {path: [] for path in parents}
    for path, above in parents.items():
        for one in above:
            children[one].append(path)
    ready = [path for path, count in waiting.items() if count == 0]
    for path in ready:  # grows while it is walked
        for child in children[path]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if len(ready) == len(parents):
        return []
    # What is left waits for something that is left: walking up must come back to a step that was passed.
    left = {path for path, count in waiting.items() if count > 0}
    place: dict[str, int] = {}
    walk: list[str] = []
    path = min(left)
    while path not in place:
        place[path] = len(walk)
        walk.append(path)
        path = next(one for one in parents[path] if one in left)
    cycle = walk[place[path] :][::-1]
    return [*cycle, cycle[0]]
