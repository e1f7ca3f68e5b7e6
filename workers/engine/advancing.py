"""The transition itself, one call of `advance.lua`, and what goes with it: entries of steps to send, and sending more.

Everything that moves a run on comes here: the cascade with what it decided, and whoever sees that a run may send more.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from workers.engine import settling
from workers.engine.core import Engine
from workers.engine.settling import Entry
from workers.engine.views import View

MOST_IN_A_ROW = 200


def admission(view: View, node: str, hold: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The entry of a step that is to be sent; one of a rebuilt run is first held, with what is known of it."""
    entry: dict[str, Any] = {"n": node, "need": settling.need_of(view, node)}
    return entry if hold is None else entry | {"hold": hold}


def top_up(engine: Engine, run: str) -> None:
    """Sends what may be sent now: another run has left places of a limit, or more of the queue.

    And goes on with whoever may take places by that, each of whom takes one or leaves a line; where many do, the
    reconciler asks the rest.
    """
    waiting = deque([run])
    for _ in range(MOST_IN_A_ROW):
        if not waiting:
            return
        run = waiting.popleft()
        view = engine.views.of(run)
        reply = advance(engine, view, []) if view is not None else {}
        if reply.get("status") != "ok":
            engine.views.forget(run)
            continue
        engine.publish(run, reply["send"])
        waiting += [other for other in reply.get("wake") or [] if other not in waiting]


def advance(
    engine: Engine,
    view: View,
    settles: list[Entry],
    admits: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The transition itself: one call of `advance.lua`."""
    pace = engine.pace.admission(view, [entry["n"] for entry in (admits or settles)[:1]])
    return engine.call(
        "advance",
        view.run,
        epoch=view.epoch,
        settle=settles,
        admit=admits or [],
        lease=engine.lease_ms,
        grace=engine.grace_ms,
        **pace,
        **more,
    )
