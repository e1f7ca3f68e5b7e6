"""What a run that is cancelled, or stopped by a failure, still has before it: settled here, as cancelled.

Steps that run are told by their next heartbeat, and an open map ends when its last item has. Called for the cascade,
as often as anyone likes.
"""

from workers.engine import keys, settling
from workers.engine.core import Engine
from workers.engine.settling import Entry
from workers.engine.views import View

RUNS = ("running", "external", "open")
ENDS_ITSELF = (*RUNS, "succeeded", "failed", "cached", "skipped", "upstream_failed", "cancelled")


def remaining(engine: Engine, view: View) -> list[Entry]:
    """The entries for whatever is neither over nor running."""
    states = {
        node.decode(): record.split(b"|", 1)[0].decode()
        for node, record in engine.client.hgetall(keys.states(view.run)).items()
    }
    left_out = () if engine.client.hexists(keys.meta(view.run), "handled") else view.plan.handlers
    indexes = [index for index in range(len(view.plan)) if index not in left_out]
    nodes = [str(index) for index in indexes if states.get(str(index)) not in ENDS_ITSELF]
    for node in [node for node, state in states.items() if state == "open"]:
        width = int(engine.client.hget(keys.counts(view.run), f"{node}#w") or 0)
        parts = [f"{node}{'/' if view.is_dynamic(node) else '.'}{part}" for part in range(width)]
        nodes += [part for part in parts if states.get(part) not in ENDS_ITSELF]
    return [settling.in_place(view, node, "cancelled") for node in nodes]
