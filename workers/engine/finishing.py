"""The end of a run: its outputs, its status, its counts, said once; and forgetting it when that is recorded.

Called by whoever settled the last step, and by the reconciler when that one died on the way.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from celesta.errors import CelestaError
from celesta.runtime.failures import told_error
from workers.engine import events, keys
from workers.engine.core import CHUNK, Engine
from workers.engine.handling import handle
from workers.engine.settling import Adopted
from workers.engine.views import View
from workers.engine.waiting import Waits

log = logging.getLogger(__name__)

COUNTED = ("succeeded", "cached", "failed", "skipped", "cancelled")
COUNTERS = [f"n_{name}" for name in COUNTED]


def finish(
    engine: Engine, view: View, adopted: Mapping[str, Adopted] | None = None, waits: Waits | None = None
) -> bool:
    """Emits `run.finished`, once however often it is called.

    False: done before, or the store cannot answer now, or the steps that run on failure come first. For these is what
    a rebuild found: results to take over, and what is known of steps that wait.
    """
    facts = engine.client.hmget(keys.meta(view.run), ["control", "cause", "asked", "handled", "error", *COUNTERS])
    control, cause, asked, handled, error_text, *numbers = facts
    counts = {name: int(number or 0) for name, number in zip(COUNTED, numbers, strict=True)}
    counts = {"total": sum(counts.values()), **counts}
    error = json.loads(error_text) if error_text else None
    outputs: dict[str, Any] = {}
    if handled is None and (asked == b"cancel" or (control == b"cancel" and cause is None)):
        status = "cancelled"
    elif error is not None:
        status = "failed"
    else:
        try:
            status, outputs = "succeeded", _outputs(engine, view)
        except CelestaError as problem:
            if problem.retryable:
                log.warning("run %s: its outputs cannot be made now: %s", view.run, problem)
                return False
            status = "failed"
            told = told_error(problem)
            error = {"path": "", **{name: told[name] for name in ("type", "message", "kind")}}
    if error is not None and status == "failed" and view.plan.handlers and handled is None:
        return handle(engine, view, error, adopted or {}, waits or Waits()) and finish(engine, view)
    event = events.run_finished(view, status, outputs, error, counts)
    reply = engine.call("finish", view.run, epoch=view.epoch, finished=event)
    return bool(reply.get("done"))


def forget(engine: Engine, run: str) -> None:
    """Removes all that Redis keeps of a run. For the recorder, after it committed the run's end, and for a rebuild, of
    an older epoch."""
    engine.views.forget(run)
    pipe = engine.client.pipeline(transaction=False)
    pipe.hkeys(keys.states(run)).hget(keys.meta(run), "project").hgetall(keys.limits(run))
    nodes, project, lanes = pipe.execute()
    waits = json.loads(lanes.pop(b"~", "{}"))
    limits = {limit for text in lanes.values() for limit in text.decode().split(",") if limit.startswith("@")}
    of_project = f"{keys.LIMITS}:{(project or b'').decode()}"
    pipe = engine.client.pipeline(transaction=False)
    for start in range(0, len(nodes), CHUNK):
        members = [keys.member(run, node.decode()) for node in nodes[start : start + CHUNK]]
        pipe.zrem(keys.INFLIGHT, *members)
        for limit in limits:
            pipe.srem(f"{of_project}:{limit}", *members)
    for line in waits:  # Under its next epoch it would leave none in which it does not come to wait again.
        pipe.zrem(f"{of_project}:line:{line}", run)
    pipe.zrem(keys.INFLIGHT, keys.member(run, ""), keys.member(run, keys.TIMEOUT))
    pipe.unlink(*keys.of_run(run)[3:], keys.reuse(run))
    pipe.execute()


def _outputs(engine: Engine, view: View) -> dict[str, Any]:
    nodes = view.root.output_nodes()
    texts = engine.client.hmget(keys.outcomes(view.run), nodes) if nodes else []
    outcomes = {node: json.loads(text) for node, text in zip(nodes, texts, strict=True) if text}
    return engine.resolver.outputs(view.root, outcomes)
