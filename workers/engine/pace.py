"""How many steps to publish ahead, and how many small ones to put into one message.

Each process learns the duration of a task from the steps that it ran itself. Unknown and long tasks go one to a
message; short ones are sent together, up to a tenth of a second of work, as long as every slot gets its share.
"""

from typing import Any

from workers.engine.views import View

SHORT_MS = 50.0
BATCH_MS = 100.0
BATCH_STEPS = 20
"""More would pass 1.2 kB in one message."""
SHARES = 8
"""A top-up makes at least this many messages, so that no worker waits while another holds them all."""
LAUNCHED_MS = 5.0
"""What a step counts as that is launched and ends elsewhere: whoever launches it mostly waits for others."""
WEIGHT = 0.3
"""Of the newest duration in the moving average."""

CAREFUL = {"low": 16, "window": 32}
EAGER = {"low": 128, "window": 256}
"""Admission: once no more than `low` published steps are unclaimed, publish up to `window`."""


class Pace:
    """Moving averages of step durations, by plan and task."""

    def __init__(self) -> None:
        self._ms: dict[tuple[str, int], float] = {}

    def learn(self, view: View, node: str, ms: float) -> None:
        key = _task_of(view, node)
        known = self._ms.get(key)
        self._ms[key] = ms if known is None else known + WEIGHT * (ms - known)

    def known(self, view: View, node: str) -> float | None:
        return self._ms.get(_task_of(view, node))

    def admission(self, view: View, nodes: list[str]) -> dict[str, int]:
        """The admission window that suits a run whose steps `nodes` were just at work."""
        known = [self.known(view, node) for node in nodes[:1]]
        return EAGER if known and known[0] is not None and known[0] < SHORT_MS else CAREFUL

    def batches(self, view: View | None, steps: list[list[Any]]) -> list[list[list[Any]]]:
        """The messages for these steps, in their order."""
        most = min(BATCH_STEPS, len(steps) // SHARES)
        if view is None or most < 2:
            return [[step] for step in steps]
        made: list[list[list[Any]]] = []
        room = 0.0
        for step in steps:
            ms = self.known(view, step[0])
            cost = BATCH_MS if ms is None or ms >= SHORT_MS else ms
            if made and len(made[-1]) < most and cost <= room:
                made[-1].append(step)
                room -= cost
            else:
                made.append([step])
                room = BATCH_MS - cost
        return made


def _task_of(view: View, node: str) -> tuple[str, int]:
    return view.frame(node).plan.version, view.step(node)["task"]
