"""Cancel, pause and resume: what people decide about a run that is under way.

The decision is committed to the database first; then it comes here, by the start message or the reconciler, as often
as it likes. Claim, renew and every transition look at it in Redis.
"""

from typing import Literal

from workers.engine import keys, settling
from workers.engine.cascade import Cascade, advance
from workers.engine.core import Engine
from workers.engine.finishing import finish
from workers.engine.views import View

Action = Literal["run", "pause", "cancel"]

RUNS = ("running", "external", "open")
ENDS_ITSELF = (*RUNS, "succeeded", "failed", "cached", "skipped", "upstream_failed", "cancelled")


def control(engine: Engine, run: str, action: Action) -> bool:
    """Applies a decision. Steps that run are told by the heartbeat of who runs them; all others are cancelled here.

    False: Redis does not know the run; the caller comes again.
    """
    view = engine.views.of(run)
    if view is None:
        return False
    reply = engine.call("control", run, epoch=view.epoch, control=action)
    if reply["status"] != "ok":
        engine.views.forget(run)
        return False
    if reply["control"] == "cancel":
        _cancel(engine, view)
    else:
        engine.publish(run, advance(engine, view, [])["send"] or [])
    return True


def _cancel(engine: Engine, view: View) -> None:
    """Settles, as cancelled, whatever is not running. An open map ends when its last item has."""
    states = {
        node.decode(): record.split(b"|", 1)[0].decode()
        for node, record in engine.client.hgetall(keys.states(view.run)).items()
    }
    nodes = [str(index) for index in range(len(view.plan)) if states.get(str(index)) not in ENDS_ITSELF]
    for node in [node for node, state in states.items() if state == "open"]:
        width = int(engine.client.hget(keys.counts(view.run), f"{node}#w") or 0)
        nodes += [f"{node}.{item}" for item in range(width) if states.get(f"{node}.{item}") not in ENDS_ITSELF]
    cascade = Cascade(engine, view)
    cascade.settles = [settling.in_place(view, node, "cancelled") for node in nodes]
    if cascade.run():
        finish(engine, view)
