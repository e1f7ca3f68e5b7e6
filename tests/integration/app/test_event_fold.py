"""The database is the fold of the events: however they are cut into batches, and whatever suffix comes again."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.db import db, writing
from app.models import (
    Artifact,
    Attempt,
    CacheEntry,
    Lineage,
    Metric,
    Project,
    Run,
    Step,
    Version,
    Workflow,
)
from app.services import cache_index, run_source
from app.services.event_record import record_events
from tests.integration.app.events import EPOCH_MS, Emitter, ref

TASKS = [f"t{index}" for index in range(10)]
FOLDED = (Step, Attempt, Artifact, Lineage, Metric)
_numbers = itertools.count()


@pytest.fixture
def version(context):
    with writing(db.session) as session:
        project = session.scalars(select(Project)).one()
        workflow = Workflow(project_id=project.id, name="w")
        session.add(workflow)
        session.flush()
        version = Version(
            project_id=project.id,
            workflow_id=workflow.id,
            digest="d",
            spec_blob="s",
            plan_blob="p",
            interface={},
            step_count=3,
            created_by="me",
        )
        session.add(version)
    return version


@pytest.fixture
def emitter(version):
    return Emitter(_new_run(version))


def _new_run(version):
    run_id = f"r{next(_numbers)}"
    with writing(db.session) as session:
        session.add(
            Run(
                id=run_id,
                project_id=version.project_id,
                workflow_id=version.workflow_id,
                version_id=version.id,
                inputs={},
                created_by="me",
            )
        )
    return run_id


def _record(*events):
    with writing(db.session) as session:
        return record_events(session, list(events), lambda _: TASKS)


def _columns(model, leave_out=()):
    return [column for column in model.__table__.columns if column.name not in leave_out]


def _dump(run_id, leave_out=()):
    """All that the fold wrote about a run, without its name."""
    found = {}
    for model in FOLDED:
        columns = _columns(model, ("id", "run_id", *leave_out))
        rows = db.session.execute(select(*columns).where(model.run_id == run_id)).all()
        found[model.__tablename__] = sorted(repr(row) for row in rows)
    (row,) = db.session.execute(select(*_columns(Run, ("id", "created_at", *leave_out))).where(Run.id == run_id))
    db.session.rollback()
    return found | {"run": repr(row)}


def _step(run_id, node="0"):
    db.session.expire_all()
    return db.session.get(Step, (run_id, node))


def test_a_run_goes_from_its_start_to_its_end(emitter):
    assert _record(emitter.started(3)) == []
    run = db.session.get(Run, emitter.run)
    assert (run.status, run.total) == ("running", 3)
    (ended,) = _record(emitter.finished("failed", total=3, failed=1, skipped=2))
    assert (ended.run_id, ended.project, ended.status) == (emitter.run, "default", "failed")
    assert (run.status, run.failed, run.skipped, run.succeeded) == ("failed", 1, 2, 0)
    assert run.outputs == {"result": ref(1)}
    assert run.finished_at == datetime.fromtimestamp((EPOCH_MS + 1) / 1000, UTC)
    assert run.recorded_at is not None


def test_a_step_keeps_what_its_attempt_said(emitter):
    _record(emitter.started(), emitter.running("2"), emitter.settled("2"))
    step = _step(emitter.run, "2")
    assert (step.state, step.task, step.path, step.position, step.item) == ("succeeded", "t2", "t#3", 2, -1)
    assert (step.attempt, step.token, step.log_bytes) == (1, "1.1", 7)
    assert step.outputs == {"result": ref(2)}
    assert step.finished_at - step.started_at == timedelta(milliseconds=5)
    attempt = db.session.get(Attempt, (emitter.run, "2", "1.1"))
    assert (attempt.state, attempt.worker) == ("succeeded", "host:1")
    artifact = db.session.scalars(select(Artifact)).one()
    assert (artifact.name, artifact.digest, artifact.size, artifact.ref) == ("result", ref(2)["digest"], 1, ref(2))
    assert db.session.scalars(select(Lineage.name)).all() == ["x"]
    assert db.session.scalars(select(Metric.value)).all() == [0.5]


def test_items_of_a_map_know_their_place(emitter):
    _record(emitter.started(), emitter.opened("1", 12), emitter.settled("1.11"), emitter.settled("1.2", "cached"))
    rows = db.session.execute(select(Step.node, Step.item, Step.task).order_by(Step.position, Step.item)).all()
    assert [tuple(row) for row in rows] == [("1", -1, "t1"), ("1.2", 2, "t1"), ("1.11", 11, "t1")]
    assert _step(emitter.run, "1").width == 12


def test_a_retry_keeps_both_attempts(emitter):
    _record(emitter.started(), emitter.running("0"), emitter.retry("0", 1, "timeout"))
    assert _step(emitter.run).state == "backoff"
    _record(emitter.running("0", 2), emitter.settled("0", attempt=2))
    attempts = {row.token: (row.state, row.reason) for row in db.session.scalars(select(Attempt))}
    assert attempts == {"1.1": ("failed", "timeout"), "1.2": ("succeeded", None)}


def test_a_lost_attempt_is_called_lost(emitter):
    _record(emitter.started(), emitter.running("0"), emitter.retry("0", 1, "lost"))
    assert db.session.get(Attempt, (emitter.run, "0", "1.1")).state == "lost"


def test_the_end_of_a_run_ends_its_attempts(emitter):
    _record(emitter.started(), emitter.running("0"))
    _record(emitter.finished("cancelled", total=1, cancelled=1))
    assert db.session.get(Attempt, (emitter.run, "0", "1.1")).state == "lost"


@pytest.mark.parametrize("together", [True, False])
def test_an_attempt_that_its_step_left_behind_ends_as_what_it_was(emitter, together):
    unclaimed = {"token": None, "attempt": 0, "left": "1.2"}
    events = [emitter.started(), *(emitter.running(node) for node in "0124"), emitter.retry("1")]
    events += [emitter.settled("0", "cancelled"), emitter.settled("1", "cancelled", **unclaimed)]
    events += [emitter.settled("2", "cached", token=None, attempt=0, left="1.1"), emitter.settled("4", "cached")]
    events += [emitter.settled("3", "cancelled")]
    for batch in [events] if together else [[event] for event in events]:
        _record(*batch)
    rows = db.session.scalars(select(Attempt).where(Attempt.run_id == emitter.run).order_by(Attempt.node))
    assert [(row.node, row.token, row.state) for row in rows] == [
        ("0", "1.1", "cancelled"), ("1", "1.1", "failed"), ("2", "1.1", "cached"), ("4", "1.1", "cached"),
    ]  # fmt: skip
    assert [_step(emitter.run, node).attempt for node in "01234"] == [1, 1, 1, 0, 1]


def test_what_is_terminal_is_final(emitter):
    _record(emitter.started(), emitter.settled("0"))
    before = _dump(emitter.run)
    _record(emitter.running("0", 2), emitter.settled("0", "failed", attempt=2), emitter.retry("0", 2))
    assert {**_dump(emitter.run), "attempt": None} == {**before, "attempt": None}


def test_an_older_epoch_is_not_heard(emitter):
    _record(emitter.started())
    assert run_source.raise_epoch(emitter.run, 1, {}) == 2
    _record(emitter.settled("0"))
    assert _step(emitter.run) is None
    emitter.epoch = 2
    _record(emitter.settled("0"))
    assert _step(emitter.run).token == "2.1"


def test_events_of_unknown_runs_and_kinds_are_passed_by(emitter):
    _record(
        {"kind": "run.started", "run": "who", "known": 1}, emitter.add("step.sighed", node="0"), {}, emitter.started()
    )
    assert db.session.get(Run, emitter.run).status == "running"


def test_an_event_that_cannot_be_read_does_not_stop_the_others(emitter, caplog):
    broken = emitter.settled("0")
    broken["node"] = "x"
    del emitter.settled("3")["path"]
    _record(emitter.started(), *emitter.events[:2], emitter.settled("1"))
    assert _step(emitter.run, "1").state == "succeeded"
    assert caplog.text.count("cannot be read") == 2


def test_numbers_and_texts_that_a_database_refuses_come_through(emitter):
    metrics = [
        {"name": "nan\0", "value": float("nan"), "step": 1, "at_ms": EPOCH_MS},
        {"name": "inf", "value": float("inf"), "step": None, "at_ms": EPOCH_MS},
    ]
    event = emitter.settled("0")
    event["outcome"]["metrics"] = metrics
    event["path"] = "t\0\ud800"
    _record(emitter.started(), event, emitter.settled("1", "failed"))
    assert {row.name: row.value for row in db.session.scalars(select(Metric))} == {
        "nan\ufffd": None,
        "inf": float("inf"),
    }
    assert _step(emitter.run).path == "t\ufffd?"
    assert _step(emitter.run, "1").error["message"] == "no\0good \ud800"


def test_only_a_success_with_a_key_enters_the_cache_and_the_newest_stands(emitter, version):
    key = {"cache_key": "k", "components": {"v": 1}}
    _record(emitter.started(), emitter.settled("0", **key), emitter.settled("1", "cached", **key | {"cache_key": "c"}))
    _record(emitter.settled("2", "failed", **key | {"cache_key": "f"}))
    assert [one for one, _ in cache_index.entries("default")] == ["k"]
    other = Emitter(_new_run(version), events=list(emitter.events))
    _record(other.started(), other.settled("4", **key))
    value = dict(cache_index.entries("default"))["k"]
    source = {"run": other.run, "path": "t#5", "node": "4", "token": "1.1"}
    assert value == {**source, "outputs": {"result": ref(4)}, "at_ms": value["at_ms"]}
    assert value["at_ms"] > 0
    assert db.session.scalars(select(CacheEntry.components)).one() == {"v": 1}
    _record(emitter.events[1])
    assert dict(cache_index.entries("default"))["k"] == value


def test_the_cache_index_reads_page_by_page(emitter, monkeypatch):
    monkeypatch.setattr(cache_index, "PAGE_ROWS", 2)
    _record(emitter.started(), *(emitter.settled(str(n), cache_key=f"k{n}") for n in range(5)))
    assert [key for key, _ in cache_index.entries("default")] == ["k0", "k1", "k2", "k3", "k4"]
    assert list(cache_index.entries("other")) == []


def test_what_is_recorded_is_what_a_rebuild_takes_over(emitter):
    _record(emitter.started(), emitter.settled("0"), emitter.settled("1", "skipped"), emitter.running("2"))
    settled = run_source.settled_steps(emitter.run)
    assert set(settled) == {"0", "1"}
    assert settled["0"].token == "1.1"
    assert settled["0"].outcome["outputs"] == {"result": ref(0)}
    assert settled["1"].outcome is None


def test_what_a_step_has_tried_is_what_a_rebuild_goes_on_with(emitter):
    events = [emitter.started(), emitter.running("0"), emitter.running("1"), emitter.retry("1", reason="lost")]
    for attempt, reason in enumerate(("lost", "timeout", "system", "user"), 1):
        events += [emitter.running("2", attempt), emitter.retry("2", attempt, reason) | {"at_or_after_ms": EPOCH_MS}]
    _record(*events, emitter.running("1", 2), emitter.retry("3"), emitter.settled("3"), emitter.opened("4", 3))
    assert run_source.tried_steps(emitter.run) == {
        "0": run_source.TriedStep("1.1", False, {}, 0),
        "1": run_source.TriedStep("1.2", False, {"system": 1}, 0),
        "2": run_source.TriedStep("1.4", True, {"system": 2, "timeout": 1, "user": 1}, EPOCH_MS),
    }


@st.composite
def histories(draw):
    """What an engine may say of one run, cut off anywhere: (function that emits, for each event, in order)."""
    scripts = []
    for node in draw(st.lists(st.sampled_from(["0", "1", "2.0", "2.1", "3"]), unique=True, max_size=5)):
        script = []
        attempts = draw(st.integers(1, 3))
        for attempt in range(1, attempts + 1):
            script.append(("running", node, attempt))
            if attempt < attempts:
                script.append(("retry", node, attempt, draw(st.sampled_from(["user", "lost"]))))
        state = draw(st.sampled_from(["succeeded", "failed", "cached", "skipped", "cancelled", None]))
        if state:
            script.append(("settled", node, state, attempts))
            late = [
                ("running", node, 4),
                ("retry", node, 4, "lost"),
                ("settled", node, "failed", 4),
                ("opened", node, 3),
            ]
            script += draw(st.lists(st.sampled_from(late), max_size=2))
        scripts.append(script)
    order = draw(st.permutations([number for number, script in enumerate(scripts) for _ in script]))
    places = [iter(script) for script in scripts]
    history = [("started", 5), *(next(places[number]) for number in order), ("finished",)]
    return history[: draw(st.integers(1, len(history)))]


def _emit(run_id, history):
    emitter = Emitter(run_id)
    for name, *arguments in history:
        getattr(emitter, name)(*arguments)
    return emitter.events


def _record_in_pieces(events, cuts):
    for start, end in itertools.pairwise([0, *sorted(cut % (len(events) + 1) for cut in cuts), len(events)]):
        _record(*events[start:end])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories(),
    cuts=st.lists(st.integers(0, 50), max_size=4),
    again=st.integers(0, 50),
    again_cuts=st.lists(st.integers(0, 50), max_size=3),
)
def test_replaying_any_suffix_changes_nothing(version, history, cuts, again, again_cuts):
    run_id = _new_run(version)
    events = _emit(run_id, history)
    _record_in_pieces(events, cuts)
    before = _dump(run_id)
    _record_in_pieces(events[again % (len(events) + 1) :], again_cuts)
    assert _dump(run_id) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), cuts=st.lists(st.integers(0, 50), max_size=4))
def test_batches_of_any_size_make_the_same_rows(version, history, cuts):
    whole, pieces = _new_run(version), _new_run(version)
    _record(*_emit(whole, history))
    _record_in_pieces(_emit(pieces, history), cuts)
    assert _dump(pieces, ("recorded_at",)) == _dump(whole, ("recorded_at",))
