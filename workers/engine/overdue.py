"""What is in flight and past its deadline: found in one look, and moved on by what its state says.

The reconciler's first sweep. Every crash of a worker, a message or a publisher ends here, within a lease. Before a step
is started again its manifest is looked for: there, it is adopted; certainly not there, the attempt was lost; and when
the store cannot tell, nothing is done now.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial

from redis.exceptions import ResponseError

from celesta.errors import CelestaError, StoreError
from celesta.runtime.failures import plain_error
from workers.engine import keys, settling
from workers.engine.cascade import Cascade
from workers.engine.completing import answer, complete, promote, wake_up
from workers.engine.controlling import cancel_rest, time_out
from workers.engine.core import Engine
from workers.engine.external import ask
from workers.engine.finishing import finish
from workers.engine.manifests import latest, read
from workers.engine.settling import Ended, Finding
from workers.engine.views import View
from workers.engine.waiting import LOOK_MS, Answer

log = logging.getLogger(__name__)

AT_ONCE = 500
AGAIN_MS = 5_000
"""How long to wait for a service that does not answer, and with what cannot be moved on."""
TROUBLE = (CelestaError, ResponseError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What moving a step on may come to. Documents that a step wrote may have any form."""
Backlog = Callable[[], int | None]
"""How many step messages wait in the queue; None where the broker does not say."""
Close = Callable[[str, list[str]], Mapping[str, Answer] | None]
"""Closes questions of a run to whom nobody answered, and says of each what the database has: one answer, for good. None
where the database does not answer."""
Attempt = tuple[str, str, str]
"""Node, token, and who holds its lease."""
ASK_AGAIN = ("asking", "backoff", "flight_wait", "open")


def sweep(engine: Engine, backlog: Backlog, begin: Callable[[str], None], close: Close) -> int:
    """Moves on what is overdue; how much it was. `begin` asks for the start of a run whose opening was cut short.

    None of the three raises where its service is away: most of what is overdue needs none of them.
    """
    due = engine.client.zrangebyscore(keys.INFLIGHT, "-inf", engine.now_ms(), start=0, num=AT_ONCE)
    by_run: dict[str, list[str]] = defaultdict(list)
    for name in due:
        run, _, node = name.decode().partition("|")
        by_run[run].append(node)
    asked_once = cache(backlog)
    for run, nodes in by_run.items():
        with _alone(engine, run, nodes):
            _sweep_run(engine, run, nodes, asked_once, begin, close)
    return len(due)


def next_in_seconds(engine: Engine) -> float:
    """How long until the next deadline; a minute when nothing is in flight."""
    first = engine.client.zrange(keys.INFLIGHT, 0, 0, withscores=True)
    return (first[0][1] - engine.now_ms()) / 1000 if first else 60.0


@contextmanager
def _alone(engine: Engine, run: str, nodes: list[str]) -> Iterator[None]:
    """The trouble of these is no other's: they come again, behind what is overdue by then."""
    try:
        yield
    except TROUBLE as error:
        log.warning("run %s: %s cannot be moved on now: %r", run, ", ".join(nodes[:5]) or "its end", error)
        records = engine.client.hmget(keys.states(run), nodes)
        states = [record.decode().partition("|")[0] if record else "" for record in records]
        later = [[node, state, AGAIN_MS, True] for node, state in zip(nodes, states, strict=True)]
        engine.call("bump", run, steps=later)


def _sweep_run(
    engine: Engine,
    run: str,
    nodes: list[str],
    backlog: Backlog,
    begin: Callable[[str], None],
    close: Close,
) -> None:
    engine.views.forget(run)  # it may have been rebuilt, here or elsewhere
    view = engine.views.of(run)
    if view is None:
        engine.call("sweep", run, steps=nodes)
        return
    for some, job in _jobs(engine, view, _by_state(engine, run, nodes), backlog, begin, close):
        with _alone(engine, run, some):
            job()


def _by_state(engine: Engine, run: str, nodes: list[str]) -> defaultdict[str, list[Attempt]]:
    found: defaultdict[str, list[Attempt]] = defaultdict(list)
    for node, record in zip(nodes, engine.client.hmget(keys.states(run), nodes), strict=True):
        state, token, *_, owner = record.decode().split("|") if record else ("", "", "")
        found[state].append((node, token, owner))
    return found


def _jobs(
    engine: Engine,
    view: View,
    by_state: Mapping[str, list[Attempt]],
    backlog: Backlog,
    begin: Callable[[str], None],
    close: Close,
) -> Iterator[tuple[list[str], Callable[[], object]]]:
    """What is to be done about which nodes, in this order; each when those before it are done."""
    nodes = {state: [node for node, *_ in attempts] for state, attempts in by_state.items()}
    if keys.TIMEOUT in nodes.get("", ()):
        yield [keys.TIMEOUT], partial(time_out, engine, view)
    if "" in nodes.get("", ()):
        yield [""], partial(_look_after, engine, view, begin)
    if sent := nodes.get("sent"):
        yield sent, partial(_resend, engine, view, sent, backlog)
    if parked := nodes.get("parked"):
        yield parked, partial(_end_waits, engine, view, parked, close)
    for node, token, _ in by_state["running"]:
        yield [node], partial(_replace, engine, view, node, token)
    for node in nodes.get("recovering", ()):
        yield [node], partial(_recover, engine, view, node)
    if external := nodes.get("external"):
        yield external, partial(ask, engine, view, by_state["external"])
    if again := _to_ask(engine, view, by_state):
        yield again, partial(promote, engine, view.run, again)


def _to_ask(engine: Engine, view: View, by_state: Mapping[str, list[Attempt]]) -> list[str]:
    """What is asked again now. Until a rebuild is through, steps that were not decided and what is open are left to who
    resumes it: asked without the results of earlier epochs, they would run again."""
    is_rebuilt = view.rebuilt and engine.client.hget(keys.meta(view.run), "opening") == b"1"
    left = ("asking", "open") if is_rebuilt else ()
    later = [[node, state, engine.lease_ms, True] for state in left for node, *_ in by_state[state]]
    if later:
        engine.call("bump", view.run, epoch=view.epoch, steps=later)
    return [node for state in ASK_AGAIN if state not in left for node, *_ in by_state[state]]


def _look_after(engine: Engine, view: View, begin: Callable[[str], None]) -> None:
    """The run's own deadline: its roots are not all opened, it is not cancelled yet, or its end was not told."""
    opening, over, decided = engine.client.hmget(keys.meta(view.run), ["opening", "over", "control"])
    engine.call("bump", view.run, epoch=view.epoch, steps=[["", "", engine.lease_ms, True]])
    if over == b"1":
        finish(engine, view)
    elif decided == b"cancel":
        cancel_rest(engine, view)
    elif opening == b"1":
        begin(view.run)


def _end_waits(engine: Engine, view: View, nodes: list[str], close: Close) -> None:
    """Sleeps are over; a question whose time has passed gets what the database says, which may be an answer."""
    sleeping = [node for node in nodes if view.waits(node) == "sleep"]
    if sleeping:
        wake_up(engine, view, sleeping)
    asking = [node for node in nodes if node not in sleeping]
    timed = [node for node in asking if view.step(node).get("timeout_seconds") is not None]
    given = close(view.run, timed) if timed else {}
    if given:
        answer(engine, view.run, given)
    later = [[node, "parked", LOOK_MS, True] for node in asking if node not in timed]
    later += [[node, "parked", AGAIN_MS, True] for node in timed if given is None]
    if later:
        engine.call("bump", view.run, epoch=view.epoch, steps=later)


def _resend(engine: Engine, view: View, nodes: list[str], backlog: Backlog) -> None:
    reply = engine.call("resend", view.run, epoch=view.epoch, steps=nodes, empty=backlog() == 0, grace=engine.grace_ms)
    engine.publish(view.run, reply.get("send") or [])


def _replace(engine: Engine, view: View, node: str, token: str) -> None:
    """A lease ran out: adopt the result if there is one, else the attempt was lost."""
    try:
        outcome = read(engine.store, view, node, token)
        finding = Cascade(engine, view).finding(node)
    except StoreError as error:
        log.warning("run %s: step %s waits for the store: %s", view.run, node, error)
        engine.call("bump", view.run, epoch=view.epoch, steps=[[node, "running", AGAIN_MS, True]])
        return
    if outcome is None:
        lost = plain_error("Lost", "the worker that ran it was lost", "system")
        complete(engine, view.run, [Ended(node, token, settling.failure(lost), finding, overdue=True)])
    else:
        complete(engine, view.run, [Ended(node, token, outcome, finding, overdue=True)])


def _recover(engine: Engine, view: View, node: str) -> None:
    """Nobody said within a lease of the rebuild that this step still runs. It may have ended meanwhile."""
    try:
        found = latest(engine.store, view, node)
    except StoreError as error:
        log.warning("run %s: step %s waits for the store: %s", view.run, node, error)
        engine.call("bump", view.run, epoch=view.epoch, steps=[[node, "recovering", AGAIN_MS, True]])
        return
    if found is None:
        promote(engine, view.run, [node])
    else:
        outcome = found
        digests = outcome.get("input_digests") or {}
        complete(engine, view.run, [Ended(node, outcome["token"], outcome, Finding(digests))])
