"""How many steps may be at work at once: of a run, of one map, and of all runs of a project that name the same limit.

Pure. What a run's plan and options limit is told once, when the run is loaded, and what a plan that is opened later
limits with its opening; the scripts count. A run without limits tells nothing, and costs nothing.
"""

from collections.abc import Mapping
from typing import Any

from app.compiler.plan import Plan
from workers.engine.views import Frame

Lanes = dict[str, Any]
OF_RUN = "run"
MOST_LANES = 8_000
"""More would not fit the order of what is ready, which is kept in whole numbers up to 2**53."""


def lanes_of(plan: Plan, options: Mapping[str, Any]) -> Lanes | None:
    """What `load.lua` wants to know: the lane of each step, and the limits of each lane. None: nothing is limited.

    Steps with the same limits share a lane, in which they wait without blocking others. Those with most limits come
    first, since their places are few.
    """
    most = options.get("max_parallel") or plan.max_parallel
    of_run = [f"{OF_RUN}:{most}"] if most else []
    by_step = {str(index): [*_of_step(str(index), step), *of_run] for index, step in enumerate(plan.steps)}
    sets = sorted({tuple(limits) for limits in by_step.values() if limits}, key=lambda limits: (len(limits), limits))
    if not sets:
        return None
    lanes: Lanes = {"#": len(sets)}
    for number, limits in enumerate(sets, 1):
        lanes |= {f"#{number}": ",".join(limits), f"={','.join(limits)}": number}
    number_of = {limits: number for number, limits in enumerate(sets, 1)}
    lanes["*"] = number_of.get(tuple(of_run), 0)
    for node, own in by_step.items():
        number = number_of.get(tuple(own), 0)
        if number != lanes["*"]:
            lanes[node] = number
    return lanes


def limits_inside(frame: Frame) -> dict[str, str] | None:
    """What `advance.lua` wants to know of a plan that is opened: the limits of its steps that have any, by node."""
    nodes = map(frame.node, range(len(frame.plan)))
    own = {node: _of_step(node, step) for node, step in zip(nodes, frame.plan.steps, strict=True)}
    return {node: ",".join(limits) for node, limits in own.items() if limits} or None


def _of_step(node: str, step: Mapping[str, Any]) -> list[str]:
    named = [f"@{name}" for name in step.get("limits") or ()]
    of_map = step.get("map") is not None and step.get("concurrency")
    return [*named, f"{node}:{of_map}"] if of_map else named
