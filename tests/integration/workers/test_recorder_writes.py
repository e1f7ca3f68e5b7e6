"""What a plain step costs the database: rows that are counted here, and no statement of its own."""

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import redis
from sqlalchemy import event, select

from app.access import Principal
from app.db import db, standalone
from app.models import Project, Run
from app.redis_names import events
from app.services.run_launch import launch_run
from app.services.version_register import register_version
from app.stores import store_of
from tests.integration.app.events import EPOCH_MS, Emitter, ref
from tests.unit.app.specs import spec, step, task, value
from workers.recorder import Recorder

ROOT = Principal.operator("root")
STREAM = events("p0")
STEPS = 60

STATEMENT = re.compile(
    r'\s*(?P<verb>INSERT|UPDATE|DELETE|SELECT)\b(?:.*?\b(?:INTO|FROM)\b)?\s+"?(?P<table>\w+)', re.DOTALL
)
EACH_BATCH = {"SELECT run": 1, "UPDATE stream_offset": 1}
"""Statements of a batch of events, however many they are."""


@dataclass
class Written:
    """Statements by verb and table; and of those that write, the rows."""

    statements: Counter = field(default_factory=Counter)
    rows: Counter = field(default_factory=Counter)

    def add(self, _connection, _cursor, statement, parameters, _context, executemany):
        found = STATEMENT.match(statement)
        if found is None:
            return  # BEGIN
        verb, table = found["verb"], found["table"]
        self.statements[f"{verb} {table}"] += 1
        if verb != "SELECT":
            self.rows[table] += len(parameters) if executemany else 1


@contextmanager
def counted():
    written = Written()
    event.listen(db.engine, "before_cursor_execute", written.add)
    try:
        yield written
    finally:
        event.remove(db.engine, "before_cursor_execute", written.add)


class Recording:
    """A run of plain steps, and a recorder that has been told of its start."""

    def __init__(self, settings):
        steps = [step(f"t#{number + 1}", "t", inputs={"x": value(number)}) for number in range(STEPS)]
        store, project = store_of(settings), db.session.scalars(select(Project)).one()
        register_version(db.session, store, ROOT, project, spec([task("t")], steps))
        self.run = Emitter(launch_run(db.session, settings, store, ROOT, project, workflow="flow").id)
        self.client = redis.Redis.from_url(settings.redis_url, protocol=2)
        self.recorder = Recorder(settings, lambda run_id: None)
        read = self.recorder.streams.read
        self.recorder.streams.read = lambda block_ms: read(1 if block_ms else None)
        self.told(self.run.started(STEPS))

    def told(self, *events):
        """One batch: what it cost."""
        for one in events:
            self.client.xadd(STREAM, {"e": json.dumps(one)})
        self.recorder.upkeep_at = float("inf")
        with counted() as written:
            self.recorder.turn(threading.Event())
        return written

    def settled(self, node):
        outcome = {
            "status": "succeeded", "outputs": {"result": ref(1)}, "error": None, "metrics": [], "worker": "host:1",
            "timings": {"started_ms": EPOCH_MS, "finished_ms": EPOCH_MS + 5},
        }  # fmt: skip
        return self.run.settled(str(node), outcome=outcome)


@pytest.fixture
def recording(context, redis_url):
    settings = replace(context, redis_url=redis_url, broker_url="memory://")
    with standalone(settings):
        made = Recording(settings)
        yield made
        made.recorder.close()
        made.client.close()
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_step_that_begins_costs_two_rows(recording, steps):
    written = recording.told(*(recording.run.running(str(node)) for node in range(steps)))
    assert written.statements == EACH_BATCH | {"INSERT step": 1, "INSERT attempt": 1}
    assert written.rows == {"stream_offset": 1, "step": steps, "attempt": steps}


@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_step_that_ends_costs_two_rows_and_one_for_each_input_and_output(recording, steps):
    recording.told(*(recording.run.running(str(node)) for node in range(steps)))
    written = recording.told(*(recording.settled(node) for node in range(steps)))
    inserts = {"INSERT step": 1, "INSERT attempt": 1, "INSERT artifact": 1, "INSERT lineage": 1}
    assert written.statements == EACH_BATCH | inserts
    assert written.rows == {"stream_offset": 1} | dict.fromkeys(("step", "attempt", "artifact", "lineage"), steps)


def test_a_step_that_begins_and_ends_in_one_batch_costs_no_more_than_its_end(recording):
    whole = [one for node in range(STEPS) for one in (recording.run.running(str(node)), recording.settled(node))]
    written = recording.told(*whole)
    assert written.rows == {"stream_offset": 1} | dict.fromkeys(("step", "attempt", "artifact", "lineage"), STEPS)


def test_the_end_of_a_run_costs_two_statements_however_many_steps_it_had(recording):
    recording.told(*(recording.settled(node) for node in range(STEPS)))
    written = recording.told(recording.run.finished(total=STEPS, succeeded=STEPS))
    assert written.statements == EACH_BATCH | {"UPDATE attempt": 1, "UPDATE run": 1}
    assert db.session.get_one(Run, recording.run.run).status == "succeeded"
