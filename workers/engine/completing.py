"""`complete`: attempts that ended are settled, counted into their chords, and what became ready goes on its way.

One plain function for everyone who knows of an end: the backend's hook, the `finish` task and the reconciler. Applied
twice, or late, it changes nothing. What it did not come to publish stays in flight, and the reconciler sends it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import time

from celesta.errors import StoreError
from workers.engine import caching, keys, settling, waiting
from workers.engine.cascade import Cascade
from workers.engine.core import Engine
from workers.engine.expanding import expand
from workers.engine.finishing import finish
from workers.engine.kept import Kept
from workers.engine.settling import Ended, Entry
from workers.engine.views import View
from workers.engine.waiting import Answer

log = logging.getLogger(__name__)


def complete(engine: Engine, run: str, ended: Sequence[Ended], keep: Kept | None = None) -> list[str]:
    """Settles attempts. What became of each: `ok`, `retry`, `done` (it was settled before) or `stale`.

    One round trip, and one to publish when something became ready; cached steps take one more to write the cache, and
    one before, to look up what may follow them. A worker that can go on at once gives an empty `keep`, and is left one
    of the steps that became ready, claimed: what alone follows a computed step is not looked up before.
    """
    if any("dynamic" in one.outcome for one in ended):
        return [_complete_one(engine, run, one, keep) for one in ended]
    return _complete(engine, run, ended, keep)


def _complete_one(engine: Engine, run: str, ended: Ended, keep: Kept | None) -> str:
    """Singly, since an attempt that opened a plan does not end its step."""
    if "dynamic" not in ended.outcome or ended.state != "succeeded":
        return _complete(engine, run, [ended], keep)[0]
    view = engine.views.of(run)
    if view is None:
        return "stale"
    cascade = Cascade(engine, view, keep=keep)
    try:
        answer = expand(cascade, ended)
    except StoreError as error:
        log.warning("run %s: step %s opens its plan later: %s", run, ended.node, error)
        return "stale"
    if answer == "stale" and cascade.control == "cancel":
        return _complete(engine, run, [replace(ended, cancelled=True)], keep)[0]
    if cascade.run():
        finish(engine, view)
    return answer


def _complete(engine: Engine, run: str, ended: Sequence[Ended], keep: Kept | None) -> list[str]:
    cascade = _begin(engine, run, ended, keep)
    if cascade is not None and cascade.status == "stale":  # Rebuilt since this process met the run: look again, once.
        engine.views.forget(run)
        cascade = _begin(engine, run, ended, keep)
    if cascade is None or cascade.status != "ok":
        return ["stale"] * len(ended)
    answers = cascade.answers[: len(ended)]
    land(engine, cascade.view, ended, answers, keep)
    if cascade.run():
        finish(engine, cascade.view)
    return answers


def _begin(engine: Engine, run: str, ended: Sequence[Ended], keep: Kept | None) -> Cascade | None:
    view = engine.views.of(run)
    if view is None or not ended:
        return None
    cascade = Cascade(engine, view, keep=keep)
    for one in ended:
        outputs = one.outcome["outputs"] if one.state in ("succeeded", "cached") else None
        cascade.settle(settling.attempt(view, one), outputs)
    cascade.begin(computed=ended[-1].state == "succeeded")
    return cascade


def land(engine: Engine, view: View, ended: Sequence[Ended], answers: Sequence[str], keep: Kept | None = None) -> None:
    """Writes the cache for what was accepted, ends the flights of all, and wakes who waited for them.

    The flight of a step that was kept begins in the same round trip.
    """
    flights: dict[caching.Slot, tuple[str, str | None]] = {}
    for one, answer in zip(ended, answers, strict=True):
        if one.finding is not None and one.finding.key is not None:
            kept = one.state == "succeeded" and answer == "ok"
            now = int(time() * 1000)
            entry = caching.record(view, one.node, one.token, one.outcome["outputs"], now) if kept else None
            slot = caching.slot_of(view, one.node, one.finding.key)
            flights[slot] = (flight_owner(view, one.node, one.token), entry)
    if flights:
        following = _following(engine, view, keep) if keep is not None else None
        waiting, taken = caching.land(engine.client, flights, following)
        if keep is not None:
            keep.taken = taken
        wake(engine, waiting)


def _following(engine: Engine, view: View, keep: Kept) -> caching.Flight | None:
    if keep.node is None or keep.finding is None or keep.finding.key is None:
        return None
    slot = caching.slot_of(view, keep.node, keep.finding.key)
    return caching.Flight(slot, flight_owner(view, keep.node, keep.token), engine.lease_ms)


def flight_owner(view: View, node: str, token: str) -> str:
    """Who holds a flight: one attempt."""
    return f"{keys.member(view.run, node)}|{token}"


def wake(engine: Engine, waiting: Sequence[str]) -> None:
    """Asks the steps (`run|node`) again that gave way to a flight which has landed, and still wait for it: one that has
    computed meanwhile, and failed, waits for its next attempt."""
    by_run: dict[str, list[str]] = {}
    for name in waiting:
        run, _, node = name.partition("|")
        by_run.setdefault(run, []).append(node)
    for run, nodes in by_run.items():
        promote(engine, run, nodes, at_once=("flight_wait",))


def answer(engine: Engine, run: str, answers: Mapping[str, Answer]) -> None:
    """Settles questions by what was answered, which is committed in the database. Those that do not ask are left."""
    view = engine.views.of(run)
    if view is None:
        return
    _settle(engine, view, [waiting.answered(view, node, given)[0] for node, given in answers.items()])


def wake_up(engine: Engine, view: View, nodes: Sequence[str]) -> None:
    """Ends sleeps whose time has come."""
    _settle(engine, view, [waiting.slept(view, node) for node in nodes])


def _settle(engine: Engine, view: View, entries: list[Entry]) -> None:
    """Settles in place. What is ready by it is for the script to say: an entry may have come too late."""
    cascade = Cascade(engine, view)
    cascade.settles += entries
    if cascade.run():
        finish(engine, view)


def promote(engine: Engine, run: str, nodes: Sequence[str], at_once: Sequence[str] = ()) -> None:
    """Asks steps again whose deadline has passed, or that are in a state in which they need not wait for it."""
    view = engine.views.of(run)
    if view is None:
        return
    reply = engine.call("promote", run, epoch=view.epoch, steps=list(nodes), lease=engine.lease_ms, at_once=at_once)
    if reply["status"] != "ok":
        engine.views.forget(run)
        return
    if Cascade(engine, view).add(reply["asks"] or []).run():
        finish(engine, view)
