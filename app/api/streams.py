"""Server-sent events: those of a run and those of a project.

Called by the routes of `runs`; `app.api.log_stream` builds on the same frames. A stream holds a thread of the web
server, so each takes a slot of the hub, and gives it back when the client leaves. No stream holds a database
connection while it waits.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from flask import Response, request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.db import db
from app.events import Event, Overrun, Subscription, after, hub
from app.models import Run
from app.services import event_query

HEARTBEAT_SECONDS = 10.0
CLOCK_SLACK = timedelta(seconds=60)  # clocks of workers and of Redis may differ by this much
RETRY_MS = 1_000
STREAM_ID = re.compile(r"([0-9]{1,14})-")
RUN_KINDS = frozenset({"run.started", "run.finished", "run.recorded"})
LAST_KIND = "run.recorded"
HEAVY = ("outcome", "components", "input_digests", "outputs")
Document = dict[str, Any]


def respond(chunks: Iterator[str], leave: Callable[[], None]) -> Response:
    """A stream as a response; `leave` is called once, when the client is gone or the stream has ended."""
    response = Response(chunks, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that gathers would make live events late
    response.call_on_close(leave)
    return response


def frame(body: Document | str, stream_id: str = "", kind: str = "") -> str:
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    head = f"id: {stream_id}\n" if stream_id else ""
    return f"{head}event: {kind}\ndata: {text}\n\n" if kind else f"{head}data: {text}\n\n"


def follow_project(project: str) -> Response:
    """When runs of a project start and end."""
    exits = ExitStack()
    exits.callback(hub().take_slot())
    subscription = entered(exits, lambda: hub().subscribe(project=project, kinds=RUN_KINDS))

    def chunks() -> Iterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        yield from _live(subscription, brief=True)

    return respond(chunks(), exits.close)


def follow_run(run: Run, project: str, *, brief: bool) -> Response:
    """The past of a run from the record, what the record has not got yet from the stream, then what happens.

    The order of the three questions is what makes it whole: listen first, ask the record how far it is and what it
    holds, and read the stream from there.
    """
    exits = ExitStack()
    exits.callback(hub().take_slot())
    subscription = entered(exits, lambda: hub().subscribe(run=run.id))
    last_id = request.headers.get("Last-Event-ID") or request.args.get("after", "")
    until = event_query.recorded_until(db.session)
    try:
        missed = hub().since(run.id, until)
    except redis.RedisError:
        exits.close()
        raise
    past = _past(db.engine, run.id, project, _moment(last_id))
    return respond(_run_chunks(past, subscription, missed, brief), exits.close)


def entered(exits: ExitStack, subscribe: Callable[[], Any]) -> Subscription:
    try:
        found: Subscription = exits.enter_context(subscribe())
        return found
    except BaseException:
        exits.close()
        raise


def _run_chunks(
    past: Iterator[list[Document]], subscription: Subscription, missed: list[Event], brief: bool
) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    for documents in past:
        yield "".join(frame(_shown(document, brief), kind=document["kind"]) for document in documents)
        if documents[-1]["kind"] == LAST_KIND:
            return
    for event in missed:
        yield frame(_text(event, brief), event.id, event.kind)
        if event.kind == LAST_KIND:
            return
    yield from _live(subscription, brief, missed[-1].id if missed else "0-0", until=LAST_KIND)


def _past(engine: Engine, run_id: str, project: str, since: datetime | None) -> Iterator[list[Document]]:
    """The recorded events; the connection is given back before each chunk, since a client may be slow to take it."""
    with Session(engine, expire_on_commit=False) as session:
        run = session.get(Run, run_id)
        for documents in event_query.replay(session, run, project, since) if run else ():
            session.commit()
            yield documents


def _live(subscription: Subscription, brief: bool, last: str = "0-0", until: str = "") -> Iterator[str]:
    """Events as they come; a comment when nothing came, which also finds out clients that left."""
    try:
        while True:
            events = [event for event in subscription.get(HEARTBEAT_SECONDS) if after(event.id, last)]
            yield "".join(frame(_text(event, brief), event.id, event.kind) for event in events) or ": still here\n\n"
            if until and any(event.kind == until for event in events):
                return
    except Overrun:
        return  # the client comes back with its last event id, and is told the rest from the record


def _shown(document: Document, brief: bool) -> Document:
    if not brief:
        return document
    light = {name: value for name, value in document.items() if name not in HEAVY}
    if document.get("outcome"):
        light["outcome"] = {"timings": document["outcome"].get("timings")}
    return light


def _text(event: Event, brief: bool) -> Document | str:
    return _shown(event.body, brief) if brief else event.text


def _moment(stream_id: str) -> datetime | None:
    """When a client last heard of us, with slack; None for one that knows nothing."""
    moment = STREAM_ID.match(stream_id)
    return datetime.fromtimestamp(int(moment[1]) / 1000, UTC) - CLOCK_SLACK if moment else None
