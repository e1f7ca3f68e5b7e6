"""Steps whose work was launched and ends elsewhere: the state `external`.

The worker that launched it hands the lease over (`hand_over`) to the executor, who keeps it while the work lives
(`vouch`, called by the watcher) and says when it ends (the `finish` task). Work of which nobody speaks in time is asked
for (`ask`, by the reconciler). A worker that dies between the launch and the hand-over loses nothing: who vouches takes
the lease over as well.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from celesta.errors import CelestaError
from workers.engine import caching, keys
from workers.engine.cascade import Cascade
from workers.engine.completing import complete, flight_owner
from workers.engine.core import Document, Engine
from workers.engine.manifests import accepted, read
from workers.engine.pace import LAUNCHED_MS
from workers.engine.settling import Ended
from workers.engine.views import View

log = logging.getLogger(__name__)

ASK_AGAIN_MS = 5_000
"""How long to wait for a store or a cluster that does not answer."""
ASKED_AT_ONCE = 50


@dataclass(frozen=True)
class Launched:
    """An attempt whose work goes on elsewhere."""

    node: str
    token: str
    cache_key: str | None = None


def hand_over(engine: Engine, view: View, attempt: Launched, place: str) -> str:
    """Gives the lease of an attempt to the executor that runs it: `ok`, or why it must end: `cancelled`, `stale`."""
    answers = vouch(engine, view.run, [attempt], place)
    return answers[0] if answers else "ok"  # Redis lost the run: a rebuild takes back what still lives


def vouch(engine: Engine, run: str, attempts: Sequence[Launched], place: str) -> list[str]:
    """Says that this work is known to its executor; for each attempt `ok`, or why it need not go on.

    Empty: Redis does not know the run (now), and nothing may be concluded.
    """
    steps = [(attempt.node, attempt.token) for attempt in attempts]
    reply = engine.call("renew", run, steps=steps, owner=place, state="external", lease=engine.launched_ms)
    if reply["status"] != "ok":
        return []
    view = engine.views.of(run)
    flights = [
        (caching.slot_of(view, one.node, one.cache_key), flight_owner(view, one.node, one.token))
        for one in attempts
        if view and one.cache_key
    ]
    if flights:
        caching.renew(engine.client, flights, engine.launched_ms)
    answers: list[str] = reply["answers"]
    return answers


def ended_elsewhere(engine: Engine, run: str, attempts: Sequence[tuple[str, str]]) -> list[Ended]:
    """What attempts (node, token) came to of which their executor says that they have ended.

    Left out: what left no result of which anybody knows while its run goes on, and what cannot be told now. Its
    executor says it again, or its lease runs out.
    """
    view = engine.views.of(run)
    if view is None:
        return []
    cascade = Cascade(engine, view)
    cancelled = engine.client.hget(keys.meta(run), "control") == b"cancel"
    found = []
    for node, token in attempts:
        engine.pace.learn(view, node, LAUNCHED_MS)
        try:
            outcome = read(engine.store, view, node, token)
            if outcome is None and cancelled:
                found.append(Ended(node, token, {}, cancelled=True))
            elif outcome or (outcome := _told(engine, view, node, token)):
                found.append(Ended(node, token, outcome, cascade.finding(node)))
        except CelestaError as error:
            log.warning("run %s: the end of step %s is looked at later: %s", run, view.path(node), error)
    return found


def ask(engine: Engine, view: View, attempts: Sequence[tuple[str, str, str]]) -> None:
    """Looks after (node, token, executor) of whom nobody spoke in time: a few in one round."""
    for number, (node, token, place) in enumerate(attempts[:ASKED_AT_ONCE]):
        try:
            outcome = _outcome(engine, view, node, token, place)
            finding = Cascade(engine, view).finding(node) if outcome else None
        except CelestaError as error:
            log.warning("run %s: %d launched steps are looked after later: %s", view.run, len(attempts) - number, error)
            _wait(engine, view, [node for node, _, _ in attempts[number:]], ASK_AGAIN_MS)
            return
        if outcome is None:
            _wait(engine, view, [node], engine.launched_ms)
        else:
            complete(engine, view.run, [Ended(node, token, outcome, finding, overdue=True)])
    _wait(engine, view, [node for node, _, _ in attempts[ASKED_AT_ONCE:]], ASK_AGAIN_MS)


def _told(engine: Engine, view: View, node: str, token: str) -> Document | None:
    """What the executor says of an attempt that left no result itself. Raises `CelestaError`."""
    record = engine.client.hget(keys.states(view.run), node)
    state, now, *_, owner = record.decode().split("|") if record else ("", "", "")
    return _outcome(engine, view, node, token, owner) if (state, now) == ("external", token) else None


def _outcome(engine: Engine, view: View, node: str, token: str, place: str) -> Document | None:
    """The outcome of the attempt; None: it goes on. Raises `CelestaError` when that cannot be told."""
    found = read(engine.store, view, node, token)
    if found is not None or engine.place is None:
        return found
    address = {"project": view.project, "run": view.run, "node": node, "path": view.path(node), "token": token}
    result = engine.place(place).reconcile(address)
    return None if result is None else accepted(view, node, token, result)


def _wait(engine: Engine, view: View, nodes: list[str], ms: int) -> None:
    if nodes:
        steps = [[node, "external", ms, True] for node in nodes]
        engine.call("bump", view.run, epoch=view.epoch, steps=steps)
