"""Schedules fire each moment once: whatever the number of beats, and whenever they die. On both databases."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
import time_machine
from celery import Celery
from sqlalchemy import func, select

from app.access import Principal
from app.db import db, standalone, writing
from app.models import Audit, Project, Run, Schedule, ScheduleFire
from app.services import schedule_fire
from app.services.schedule_create import create_schedule
from app.services.schedule_delete import delete_schedule
from app.services.schedule_fire import fire_due
from app.services.version_register import register_version
from app.stores import store_of
from celesta.errors import AccessError, ConflictError, InputError, NotFoundError, StoreError
from tests.fixtures.processes import wait_until
from tests.unit.app.specs import diamond
from workers.beat import LEASE_SECONDS, DatabaseScheduler
from workers.engine import keys

ROOT = Principal.operator("root")
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ROOT_FOLDER = Path(__file__).parents[3]


@pytest.fixture
def settings(context):
    return context


@pytest.fixture
def project(settings):
    project = db.session.scalars(select(Project)).one()
    register_version(db.session, store_of(settings), ROOT, project, diamond())
    return project


@pytest.fixture
def schedule(settings, project):
    def schedule(name="nightly", principal=ROOT, made_at=NOON - timedelta(hours=3), **given):
        wanted = {"workflow": "flow", "cron": "0 * * * *", "inputs": {"n": 1}} | given
        made = create_schedule(db.session, store_of(settings), principal, project, name=name, **wanted)
        with writing(db.session):
            made.created_at = made_at
        return made

    return schedule


def _runs():
    db.session.rollback()
    return db.session.scalars(select(Run).order_by(Run.created_at)).all()


class TestCreateAndDelete:
    def test_all_problems_come_at_once(self, schedule):
        with pytest.raises(InputError) as caught:
            schedule("a b", cron="x", timezone="Mars", inputs={"n": "one", "m": 2})
        assert {problem.where for problem in caught.value.problems} == {
            "name",
            "cron",
            "timezone",
            "inputs.n",
            "inputs.m",
        }
        assert db.session.scalar(select(func.count()).select_from(Schedule)) == 0

    def test_an_unknown_workflow_or_version_is_refused(self, schedule):
        for wrong in ({"workflow": "no"}, {"version": "no"}):
            with pytest.raises(NotFoundError):
                schedule(**wrong)

    def test_a_name_is_taken_once(self, schedule):
        schedule()
        with pytest.raises(ConflictError):
            schedule()

    def test_a_viewer_may_not(self, schedule, project):
        viewer = Principal("bob", roles={project.id: "viewer"})
        with pytest.raises(AccessError):
            schedule(principal=viewer)
        with pytest.raises(AccessError):
            delete_schedule(db.session, viewer, project, "nightly")

    def test_deleting_keeps_the_runs(self, schedule, settings, project):
        schedule()
        fire_due(db.session, settings, NOON)
        delete_schedule(db.session, ROOT, project, "nightly")
        (run,) = _runs()
        assert run.schedule_id is None
        assert db.session.scalar(select(func.count()).select_from(ScheduleFire)) == 0
        with pytest.raises(NotFoundError):
            delete_schedule(db.session, ROOT, project, "nightly")

    def test_the_audit_knows(self, schedule, project):
        schedule()
        delete_schedule(db.session, ROOT, project, "nightly")
        actions = db.session.scalars(select(Audit.action).order_by(Audit.id)).all()
        assert actions[-2:] == ["schedule.create", "schedule.delete"]


class TestFire:
    def test_a_due_schedule_launches_one_run_in_its_makers_name(self, schedule, settings):
        made = schedule()
        assert fire_due(db.session, settings, NOON) == NOON + timedelta(hours=1)
        (run,) = _runs()
        assert (run.schedule_id, run.created_by, run.inputs["n"]["inline"]) == (made.id, "root", 1)
        fire = db.session.scalars(select(ScheduleFire)).one()
        assert (fire.fire_at, fire.run_id) == (NOON, run.id)
        assert made.last_fire_at == NOON

    def test_asking_again_fires_nothing(self, schedule, settings):
        schedule()
        for minutes in (0, 0, 10, 59):
            fire_due(db.session, settings, NOON + timedelta(minutes=minutes))
        assert len(_runs()) == 1
        fire_due(db.session, settings, NOON + timedelta(minutes=60))
        assert len(_runs()) == 2

    def test_nothing_fires_before_the_schedule_was_made(self, schedule, settings):
        schedule(made_at=NOON + timedelta(seconds=1))
        fire_due(db.session, settings, NOON + timedelta(minutes=30))
        assert _runs() == []

    def test_after_an_outage_only_the_latest_fire_is_made_up_for(self, schedule, settings):
        schedule()
        fire_due(db.session, settings, NOON)
        fire_due(db.session, settings, NOON + timedelta(days=3, minutes=5))
        fires = db.session.scalars(select(ScheduleFire.fire_at).order_by(ScheduleFire.fire_at)).all()
        assert fires == [NOON, NOON + timedelta(days=3)]
        assert len(_runs()) == 2

    def test_a_paused_schedule_is_silent(self, schedule, settings):
        made = schedule()
        with writing(db.session):
            made.paused = True
        assert fire_due(db.session, settings, NOON) is None
        assert _runs() == []

    def test_a_schedule_without_a_version_launches_the_active_one(self, schedule, settings, project):
        schedule("moving")
        schedule("fixed", version=register_version(
            db.session, store_of(settings), ROOT, project, diamond()
        ).version.digest)  # fmt: skip
        newer = register_version(db.session, store_of(settings), ROOT, project, diamond(python="3.13")).version
        fire_due(db.session, settings, NOON)
        used = {run.schedule_id: run.version_id for run in _runs()}
        names = {one.name: used[one.id] for one in db.session.scalars(select(Schedule))}
        assert names["moving"] == newer.id
        assert names["fixed"] != newer.id

    def test_a_beat_that_died_between_claim_and_launch_is_made_good(self, schedule, settings, monkeypatch):
        schedule()
        with monkeypatch.context() as patch:
            patch.setattr(schedule_fire, "_launch_claimed", lambda *_: None)
            fire_due(db.session, settings, NOON)
        assert _runs() == []
        fire_due(db.session, settings, NOON + timedelta(minutes=1))
        assert len(_runs()) == 1

    def test_a_beat_that_died_after_the_launch_launches_nothing_more(self, schedule, settings):
        schedule()
        fire_due(db.session, settings, NOON)
        with writing(db.session):
            db.session.scalars(select(ScheduleFire)).one().run_id = None
        fire_due(db.session, settings, NOON + timedelta(minutes=1))
        (run,) = _runs()
        assert db.session.scalars(select(ScheduleFire.run_id)).one() == run.id

    def test_a_fire_that_cannot_be_launched_says_why_once_and_stops_no_other(self, schedule, settings):
        broken = schedule("broken")
        schedule("fine")
        with writing(db.session):
            broken.inputs = {"n": "no number"}
        for _ in range(2):
            fire_due(db.session, settings, NOON)
        assert len(_runs()) == 1
        errors = [error for error in db.session.scalars(select(ScheduleFire.error)) if error]
        assert len(errors) == 1
        assert "expected an integer" in errors[0]

    def test_a_store_that_does_not_answer_delays_a_fire(self, schedule, settings, monkeypatch):
        schedule()

        def fail(*_, **__):
            raise StoreError("the store does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(schedule_fire, "launch_run", fail)
            with pytest.raises(StoreError):
                fire_due(db.session, settings, NOON)
        db.session.rollback()
        fire_due(db.session, settings, NOON)
        assert len(_runs()) == 1

    def test_many_beats_at_once_fire_once(self, schedule, settings):
        schedule("a")
        schedule("b")
        start = threading.Barrier(4)

        def beat():
            with standalone(settings):
                start.wait(10)
                for minute in range(0, 181, 20):
                    fire_due(db.session, settings, NOON + timedelta(minutes=minute))

        threads = [threading.Thread(target=beat) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(_runs()) == 8
        assert db.session.scalar(select(func.count()).select_from(ScheduleFire)) == 8


class TestScheduler:
    @pytest.fixture
    def beat(self, settings, redis_url):
        settings = replace(settings, redis_url=redis_url)
        made = []

        def beat():
            made.append(DatabaseScheduler(Celery("test", set_as_current=False), config=settings))
            return made[-1]

        yield beat
        for one in made:
            one.close()
        with standalone(settings):
            db.engine.dispose()

    def test_a_tick_fires_and_sleeps_until_the_next_fire(self, schedule, beat):
        schedule()
        scheduler = beat()
        with time_machine.travel(NOON + timedelta(minutes=59, seconds=58), tick=False):
            assert scheduler.tick() == pytest.approx(2.0)
        assert len(_runs()) == 1
        with time_machine.travel(NOON + timedelta(minutes=61), tick=False):
            assert scheduler.tick() == 5.0
        assert len(_runs()) == 2

    def test_one_leads_and_the_others_wait(self, schedule, beat, redis_url):
        schedule()
        first, second = beat(), beat()
        with time_machine.travel(NOON, tick=False):
            first.tick()
            second.tick()
            assert (first.leads, second.leads) == (True, False)
            first.close()
            second.tick()
            assert second.leads
        with redis.Redis.from_url(redis_url) as client:
            assert 0 < client.pttl(keys.BEAT) <= LEASE_SECONDS * 1000

    def test_a_leader_that_lost_its_lease_follows(self, beat, redis_url):
        first, second = beat(), beat()
        first.tick()
        with redis.Redis.from_url(redis_url) as client:
            client.delete(keys.BEAT)
        second.tick()
        first.tick()
        assert (first.leads, second.leads) == (False, True)

    def test_a_redis_that_is_gone_ends_no_beat(self, settings, tmp_path):
        scheduler = DatabaseScheduler(
            Celery("test", set_as_current=False), config=replace(settings, redis_url=f"unix://{tmp_path}/no")
        )
        assert scheduler.tick() == 5.0
        scheduler.close()


def test_two_real_beats_fire_once_and_end_when_told(schedule, settings, redis_url):
    made = schedule(made_at=datetime.now(UTC) - timedelta(days=2), cron="0 0 * * *")
    environ = os.environ | {
        "CELESTA_HOME": str(settings.home),
        "CELESTA_DATABASE_URL": settings.database_url,
        "CELESTA_REDIS_URL": redis_url,
        "CELESTA_STORE_URL": settings.store_url,
    }
    code = (
        "from app.config import Config; from workers.beat import run;"
        "run(Config.from_env(), lambda: print('up', flush=True))"
    )
    beats = [
        subprocess.Popen([sys.executable, "-c", code], env=environ, cwd=ROOT_FOLDER, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for beat in beats:
            assert beat.stdout.readline() == b"up\n"
        wait_until(_runs, what="a fire")
        with redis.Redis.from_url(redis_url) as client:
            wait_until(lambda: client.llen("control") == 1, what="its message")
    finally:
        for beat in beats:
            beat.send_signal(signal.SIGTERM)
        codes = [beat.wait(10) for beat in beats]
        for beat in beats:
            beat.stdout.close()
    assert codes == [0, 0]
    assert [run.schedule_id for run in _runs()] == [made.id]
