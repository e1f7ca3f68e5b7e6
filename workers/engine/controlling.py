"""Cancel, pause and resume: what people decide about a run that is under way; and what ends one that takes too long.

The decision is committed to the database first; then it comes here, by the start message or the reconciler, as often
as it likes. Claim, renew and every transition look at it in Redis.
"""

import json
from typing import Literal

from celesta.rules import told_of_timeout
from workers.engine import keys
from workers.engine.advancing import top_up
from workers.engine.cascade import Cascade
from workers.engine.core import Engine
from workers.engine.finishing import finish
from workers.engine.views import View

Action = Literal["run", "pause", "cancel"]
AGAIN_MS = 1_000
"""When a run whose time is over is ended, should it be told of by a rebuild just now."""


def control(engine: Engine, run: str, action: Action) -> bool:
    """Applies a decision. Steps that run are told by the heartbeat of who runs them; all others are cancelled here.

    False: Redis does not know the run, or is still told of it by a rebuild; the caller comes again.
    """
    view = engine.views.of(run)
    if view is None:
        return False
    reply = engine.call("control", run, epoch=view.epoch, control=action, lease=engine.lease_ms)
    if reply["status"] != "ok":
        engine.views.forget(run)
        return False
    if reply["control"] == "cancel":
        cancel_rest(engine, view)
    else:
        top_up(engine, run)
    return True


def time_out(engine: Engine, view: View) -> None:
    """Ends a run that takes longer than its timeout: it has failed, and its steps are cancelled."""
    message = told_of_timeout(view.plan.timeout_seconds or 0.0)
    error = {"path": "", "type": "Timeout", "message": message, "kind": "timeout"}
    told = {"cause": "timeout", "error": json.dumps(error), "lease": engine.lease_ms}
    reply = engine.call("control", view.run, epoch=view.epoch, control="cancel", **told)
    if reply["status"] == "ok":
        cancel_rest(engine, view)
    else:
        engine.call("bump", view.run, epoch=view.epoch, steps=[[keys.TIMEOUT, "", AGAIN_MS, True]])


def cancel_rest(engine: Engine, view: View) -> None:
    """Settles, as cancelled, whatever is not running."""
    if Cascade(engine, view).stop().run():
        finish(engine, view)
