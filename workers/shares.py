"""How runs that wait for workers share the one queue: by the weights of their projects, then by their priorities.

The reconciler asks at each look, and tells the runs. Pure. A run sends at most its share of a window ahead; messages
are taken in their order, so its part of what is queued is its part of the workers. Alone, a run has no share: it costs
nothing and sends as far ahead as ever.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

QUEUED = 0.25
"""Of a window is all that is queued while several share: who comes later waits behind no more."""
STEP = 4.0
"""A run has this many times the share of one whose priority is lower by one."""
TURNS = 16
"""So many runs of a project send at a time, the most urgent and then the oldest; or a project of many small runs would
have a message of each in the queue."""


@dataclass(frozen=True)
class Waiting:
    """A run that has steps to send, or sent and not begun."""

    run: str
    project: str
    priority: int


def shares(waiting: Iterable[Waiting], weights: Mapping[str, int]) -> dict[str, float]:
    """The share of each run, oldest first as they are given; no run that is left out has to share."""
    of_project: dict[str, list[Waiting]] = defaultdict(list)
    for one in waiting:
        of_project[one.project].append(one)
    several = len(of_project) > 1
    found: dict[str, float] = {}
    all_weights = sum(weights.get(project, 1) for project in of_project)
    for project, runs in of_project.items():
        if not several and len({one.priority for one in runs}) == 1:
            continue
        budget = QUEUED * weights.get(project, 1) / all_weights
        turns = sorted(runs, key=lambda one: -one.priority)[:TURNS]
        strength = sum(STEP**one.priority for one in turns)
        found |= {one.run: 0.0 for one in runs}
        found |= {one.run: budget * STEP**one.priority / strength for one in turns}
    return found
