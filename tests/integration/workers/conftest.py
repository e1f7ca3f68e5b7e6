"""A recorder over a real Redis and both databases, and a run of plain steps whose events a test sends."""

import json
import threading
from dataclasses import replace

import pytest
import redis
from sqlalchemy import select

from app.access import Principal
from app.db import db, standalone
from app.models import Project, Run, Step
from app.redis_names import events
from app.services.run_launch import launch_run
from app.services.version_register import register_version
from app.stores import store_of
from tests.integration.app.conftest import config, context  # noqa: F401
from tests.integration.app.events import Emitter
from tests.unit.app.specs import spec, step, task, value
from workers.recorder import Recorder

ROOT = Principal.operator("root")
STREAM = events("p0")
STEPS = 12


@pytest.fixture
def settings(context, redis_url):  # noqa: F811
    settings = replace(context, redis_url=redis_url, broker_url="memory://")
    yield settings
    with standalone(settings):
        db.engine.dispose()


@pytest.fixture
def client(settings):
    with redis.Redis.from_url(settings.redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def new_run(settings):
    steps = [step(f"t#{number + 1}", "t", inputs={"x": value(number)}) for number in range(STEPS)]
    return launcher(settings, spec([task("t")], steps))


def launcher(settings, document):
    store = store_of(settings)
    project = db.session.scalars(select(Project)).one()
    register_version(db.session, store, ROOT, project, document)

    def launch():
        run = launch_run(db.session, settings, store, ROOT, project, workflow=document["name"])
        return Emitter(run.id)

    return launch


@pytest.fixture
def forgotten():
    return []


@pytest.fixture
def make(settings, forgotten):
    made = []

    def make():
        one = Recorder(settings, forgotten.append)
        one.streams.read = _impatient(one.streams.read)
        made.append(one)
        return one

    yield make
    for one in made:
        one.client.close()


def _impatient(read):
    """Tests do not wait for events that do not come."""
    return lambda block_ms: read(1 if block_ms else None)


def send(client, *events):
    pipe = client.pipeline()
    for event in events:
        pipe.xadd(STREAM, {"e": event if isinstance(event, bytes | str) else json.dumps(event)})
    pipe.execute()


def turn(one):
    one.turn(threading.Event())


def status_of(run_id):
    db.session.rollback()
    return db.session.scalar(select(Run.status).where(Run.id == run_id))


def states_of(run_id):
    db.session.rollback()
    rows = db.session.execute(select(Step.node, Step.state).where(Step.run_id == run_id))
    return {node: state for node, state in rows}  # noqa: C416


def kinds_in(client):
    return [json.loads(fields[b"e"])["kind"] for _, fields in client.xrange(STREAM)]


def whole_run(emitter):
    emitter.started(STEPS)
    for node in range(STEPS):
        emitter.running(str(node))
        emitter.settled(str(node))
    emitter.finished(total=STEPS, succeeded=STEPS)
    return emitter.events
