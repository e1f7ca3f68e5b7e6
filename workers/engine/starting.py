"""The start of a run, and its rebuild after Redis lost it: one walk over the roots, with or without earlier results.

`celesta.start` calls `start`, which may come twice or late: a run that Redis knows is only looked after. The reconciler
calls `rebuild` for a run that was under way and that Redis no longer knows.

The epoch in the database says which rebuild counts: it is raised by one of those who read it. What Redis has of an
older one is removed before the results are read, since the record no longer hears of it.
"""

import json
import logging
from collections.abc import Mapping

from app.compiler.plan import Plan
from workers.engine import events, keys
from workers.engine.cascade import Cascade
from workers.engine.controlling import cancel_rest, control
from workers.engine.core import CHUNK, Engine
from workers.engine.finishing import finish, forget
from workers.engine.limits import lanes_of
from workers.engine.reusing import take_over
from workers.engine.settling import Adopted
from workers.engine.source import Source, recover
from workers.engine.waiting import Waits
from workers.lead import Lead

log = logging.getLogger(__name__)

UNDECIDED = ("asking", "open")
LEAD_SECONDS = 30.0
"""After how long a rebuild whose process is gone is begun by another."""
REBUILD_SECONDS = 2 * 3600.0
"""How long a rebuild may take: one that hangs does not keep others away for ever."""


def start(engine: Engine, source: Source) -> None:
    """Begins a run that was committed; one that left traces in the store or the database is rebuilt.

    What was decided about it is applied, also to a run that is under way.
    """
    engine.views.forget(source.run)  # this process may have met the run before Redis lost it
    view = engine.views.of(source.run)
    if view is not None and view.epoch >= source.epoch:
        opening, decided = engine.client.hmget(keys.meta(source.run), ["opening", "control"])
        if opening == b"1":
            resume(engine, source)
        if decided is not None and decided.decode() != source.control:
            control(engine, source.run, source.control)
    elif view is None and source.status == "queued" and not _left_traces(engine, source.run):
        _open(engine, source, source.epoch, {}, Waits())
    elif source.status in ("queued", "running"):
        rebuild(engine, source)


def _left_traces(engine: Engine, run: str) -> bool:
    return bool(engine.client.exists(keys.meta(run))) or any(engine.store.list(f"runs/{run}/"))


def rebuild(engine: Engine, source: Source) -> None:
    """Begins a run again under a new epoch: results that are durable are adopted, never computed again.

    What may still be running somewhere gets one lease to say so before its next attempt is sent. Does nothing where
    another is at it, or the run has ended.
    """
    lead = Lead(engine.client, keys.rebuilding(source.run), LEAD_SECONDS)
    if not lead.held():
        return
    with lead.kept(REBUILD_SECONDS):
        engine.views.forget(source.run)
        view = engine.views.of(source.run)
        if view is None or view.epoch < source.epoch:
            _rebuild(engine, source, lead)


def _rebuild(engine: Engine, source: Source, lead: Lead) -> None:
    forget(engine, source.run)
    found = recover(engine.store, source)
    if not lead.keep():  # An epoch that is raised and never made known would be begun again from here.
        log.warning("run %s: its rebuild was superseded", source.run)
        return
    epoch = source.raise_epoch({node: one.token for node, one in found.items() if one.token})
    if epoch is not None:
        log.warning("run %s: rebuilt as epoch %d with %d results", source.run, epoch, len(found))
        _open(engine, source, epoch, found, source.waits(), lead.name)
        if source.control == "cancel":
            control(engine, source.run, "cancel")


def resume(engine: Engine, source: Source) -> None:
    """Opens the roots again of a run whose opening was cut short; steps that were opened are left alone."""
    view = engine.views.of(source.run)
    if view is None:
        return
    adopted, waits = (recover(engine.store, source), source.waits()) if view.rebuilt else ({}, Waits())
    cascade = Cascade(engine, view, adopted, waits, hold=view.rebuilt)
    if view.rebuilt:
        _ask_what_was_left(cascade)
    _open_roots(cascade)


def _open(
    engine: Engine, source: Source, epoch: int, adopted: Mapping[str, Adopted], waits: Waits, lead: str | None = None
) -> None:
    plan = engine.views.plan(source.plan)
    take_over(engine, source, plan)
    rebuilt, known = epoch > 1, len(plan) - len(plan.handlers)
    # What has ended counts also in a run that was cancelled: it is taken over first.
    allowed = "pause" if rebuilt and source.control == "cancel" else source.control
    reply = engine.call(
        "load",
        source.run,
        project=source.project,
        plan=source.plan,
        inputs=json.dumps(source.inputs),
        options=json.dumps(source.options),
        epoch=epoch,
        known=known,
        rebuilt=int(rebuilt),
        control=allowed,
        timeout_ms=_timeout_ms(engine, plan, source),
        limits=lanes_of(plan, source.options),
        lease=engine.lease_ms,
        lead=lead,
        started=events.run_started(source.run, source.project, known),
    )
    engine.views.forget(source.run)
    view = engine.views.of(source.run)
    if reply["status"] != "ok" or view is None:  # Another goes on with it.
        return
    if allowed == "cancel":
        cancel_rest(engine, view)
    else:
        _open_roots(Cascade(engine, view, adopted, waits, hold=view.rebuilt))


def _timeout_ms(engine: Engine, plan: Plan, source: Source) -> float | None:
    """How long the run may still take; a rebuild does not give it more time."""
    if plan.timeout_seconds is None:
        return None
    passed = 0 if source.started_ms is None else max(0, engine.now_ms() - source.started_ms)
    return max(0.0, plan.timeout_seconds * 1000 - passed)


def _ask_what_was_left(cascade: Cascade) -> None:
    """Steps that a rebuild had come to and not decided, and what it left open: its roots alone may not lead to them."""
    engine, view = cascade.engine, cascade.view
    records = engine.client.hgetall(keys.states(view.run))
    nodes = [node.decode() for node, record in records.items() if record.split(b"|", 1)[0].decode() in UNDECIDED]
    for start_at in range(0, len(nodes), CHUNK):
        part = nodes[start_at : start_at + CHUNK]
        reply = engine.call("promote", view.run, epoch=view.epoch, steps=part, lease=engine.lease_ms, at_once=UNDECIDED)
        cascade.add(reply.get("asks") or []).run()


def _open_roots(cascade: Cascade) -> None:
    """Puts the first steps on their way. The run counts as opened when nothing was left that needs what is known here:
    else it is resumed in a lease."""
    roots = cascade.view.plan.roots
    for start_at in range(0, len(roots), CHUNK):
        cascade.begin_steps([str(index) for index in roots[start_at : start_at + CHUNK]])
        cascade.run()
    cascade.flush(roots=int(not cascade.left))
    if cascade.run():
        finish(cascade.engine, cascade.view, cascade.adopted, cascade.waits)
