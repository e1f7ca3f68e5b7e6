"""How many steps may be at work at once: of a run, of one map, and of all runs of a project that name the same limit.

Pure. What a run's plan and options limit is told once, when the run is loaded; the scripts count. A run
without limits tells nothing, and costs nothing.
"""

from collections.abc import Mapping
from typing import Any

from app.compiler.plan import Plan
from celesta.errors import Problem, SpecError

Lanes = dict[str, Any]
OF_RUN = "run"


def lanes_of(plan: Plan, options: Mapping[str, Any]) -> Lanes | None:
    """What `load.lua` wants to know: the lane of each step, and the limits of each lane. None: nothing is limited.

    Steps with the same limits share a lane, in which they wait without blocking others. Those with most limits come
    first, since their places are few.
    """
    most = options.get("max_parallel") or plan.max_parallel
    of_run = [f"{OF_RUN}:{most}"] if most else []
    by_step = {str(index): [*_of_step(index, step), *of_run] for index, step in enumerate(plan.steps)}
    sets = sorted({tuple(limits) for limits in by_step.values() if limits}, key=lambda limits: (len(limits), limits))
    if not sets:
        return None
    lanes: Lanes = {"#": len(sets)}
    lanes |= {f"#{number}": ",".join(limits) for number, limits in enumerate(sets, 1)}
    number_of = {limits: number for number, limits in enumerate(sets, 1)}
    lanes["*"] = number_of.get(tuple(of_run), 0)
    for node, limits in by_step.items():
        number = number_of.get(tuple(limits), 0)
        if number != lanes["*"]:
            lanes[node] = number
    return lanes


def _of_step(index: int, step: Mapping[str, Any]) -> list[str]:
    named = [f"@{name}" for name in step.get("limits") or ()]
    of_map = step.get("map") is not None and step.get("concurrency")
    return [*named, f"{index}:{of_map}"] if of_map else named


def refuse_inside(plan: Plan) -> None:
    """Refuses limits of steps in a plan that is opened while its run goes on: lanes are told when a run is loaded.

    Raises `SpecError`. `max_parallel` of the run counts such steps, too.
    """
    problems = [Problem(step["path"], "names a limit") for step in plan.steps if _of_step(0, step)]
    if problems:
        raise SpecError("steps of a dynamic step have no limits of their own: give them to the dynamic task", problems)
