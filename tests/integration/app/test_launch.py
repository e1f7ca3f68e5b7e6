"""From a spec to a committed run and a message, and back to what the engine reads; on both databases."""

import base64
import itertools
import json
import threading
from dataclasses import replace

import pytest
import redis
from sqlalchemy import func, select

from app.access import Principal
from app.compiler.plan import Plan
from app.db import db, standalone, writing
from app.models import Audit, Project, Run, Version
from app.services import run_launch, run_source
from app.services.run_cancel import cancel_run
from app.services.run_launch import launch_run
from app.services.run_source import Unfinished
from app.services.version_register import register_version
from app.stores import store_of
from celesta.errors import AccessError, InputError, MissingBlobs, NotFoundError, SpecError
from celesta.hashing import canonical, digest_of
from celesta.spec import spec_digest
from tests.fixtures.growth import growth
from tests.unit.app.specs import diamond, spec, step, task, value

ROOT = Principal.operator("root")


@pytest.fixture
def project(context):
    return db.session.scalars(select(Project).where(Project.name == "default")).one()


@pytest.fixture
def store(context):
    return store_of(context)


@pytest.fixture
def register(project, store):
    def register(document, label=None, principal=ROOT):
        return register_version(db.session, store, principal, project, document, label)

    return register


@pytest.fixture
def launch(context, project, store, register):
    register(diamond())

    def launch(principal=ROOT, **given):
        return launch_run(
            db.session, context, store, principal, project, **({"workflow": "flow", "inputs": {"n": 3}} | given)
        )

    return launch


def _count(model):
    return db.session.scalar(select(func.count()).select_from(model))


class TestRegister:
    def test_a_version_is_stored_with_its_spec_and_its_plan(self, register, store):
        made = register(diamond())
        assert made.created
        assert json.loads(store.get_blob(made.version.spec_blob)) == diamond()
        plan = Plan.from_bytes(store.get_blob(made.version.plan_blob))
        assert (plan.version, len(plan)) == (made.version.digest, made.version.step_count)
        assert made.version.created_by == "root"

    def test_the_same_spec_is_the_same_version(self, register):
        first, again = register(diamond()), register(diamond(doc="other words"))
        assert not again.created
        assert again.version.id == first.version.id
        assert _count(Version) == 1

    def test_the_last_one_registered_is_the_active_one(self, register):
        first, other = register(diamond()), register(diamond(python="3.12"))
        assert other.workflow.active_version_id == other.version.id
        assert register(diamond()).workflow.active_version_id == first.version.id

    def test_a_single_task_is_of_kind_task(self, register):
        assert register(spec([task("a")], [step("a", inputs={"x": value(1)})], name="a")).workflow.kind == "task"
        assert register(diamond()).workflow.kind == "workflow"

    def test_blobs_that_are_not_there_are_all_named_and_nothing_is_written(self, register):
        bundle, big = digest_of(b"bundle"), digest_of(b"big")
        document = diamond(bundle=bundle)
        document["steps"][0]["inputs"]["z"] = {"value": {"type": "json", "digest": big, "size": 3, "blob": big}}
        with pytest.raises(MissingBlobs) as caught:
            register(document)
        assert caught.value.digests == sorted([bundle, big])
        assert _count(Version) == 0

    def test_a_constant_under_a_false_digest_is_refused_where_it_stands(self, register):
        document = diamond()
        document["steps"][0]["inputs"]["z"] = {"value": {**value(2)["value"], "digest": "0" * 64}}
        with pytest.raises(SpecError) as caught:
            register(document)
        assert [str(one) for one in caught.value.problems] == ["steps.d.inputs.z: the digest is not that of the value"]
        assert _count(Version) == 0

    def test_what_cannot_run_is_refused_with_all_problems(self, register):
        document = diamond()
        document["steps"][0]["inputs"].pop("z")
        document["steps"][1]["task"] = "nope"
        with pytest.raises(SpecError) as caught:
            register(document)
        assert len(caught.value.problems) >= 2
        assert _count(Version) == 0

    def test_a_viewer_cannot_register(self, register, project):
        with pytest.raises(AccessError):
            register(diamond(), principal=Principal("bob", roles={project.id: "viewer"}))

    def test_many_may_register_the_same_at_once(self, context, store):
        made, start = [], threading.Barrier(5)

        def work():
            with standalone(context):
                project = db.session.scalars(select(Project)).one()
                for number in range(3):
                    start.wait(20)
                    made.append(register_version(db.session, store, ROOT, project, diamond(name=f"flow-{number}")))

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(made) == 15
        assert sum(one.created for one in made) == 3
        assert _count(Version) == 3

    def test_registering_grows_with_the_steps_and_no_faster(self, register):
        from tests.unit.app.specs import wide

        names = (f"flow-{number}" for number in itertools.count())

        def registering(count):
            document = wide(count) | {"name": next(names)}
            return lambda: register(document)

        assert growth(registering, 1_000, 10_000) < 4


class TestLaunch:
    def test_a_run_is_committed_and_then_published(self, launch, project):
        run = launch()
        assert (run.status, run.project_id, run.created_by) == ("queued", project.id, "root")
        assert run.published_at >= run.created_at
        assert run.inputs["n"]["inline"] == 3

    def test_the_message_comes_after_the_commit(self, launch, context, monkeypatch):
        seen = []

        def send(_url, run_id):
            def look():
                with standalone(context):
                    seen.append(run_source.load_run(run_id).status)

            thread = threading.Thread(target=look)
            thread.start()
            thread.join(10)
            return True

        monkeypatch.setattr(run_launch, "send_start", send)
        launch()
        assert seen == ["queued"]

    def test_without_a_broker_the_run_stays_for_the_sweeper(self, launch, monkeypatch):
        monkeypatch.setattr(run_launch, "send_start", lambda *_: False)
        run = launch()
        assert run.published_at is None
        assert run_source.unfinished() == {run.id: Unfinished("run", 1)}

    def test_all_problems_of_the_inputs_come_at_once(self, launch):
        with pytest.raises(InputError) as caught:
            launch(inputs={"m": 1, "n": "three"}, options={"fast": True, "refresh": 1})
        assert [problem.where for problem in caught.value.problems] == ["m", "options.fast", "options.refresh", "n"]
        assert _count(Run) == 0

    def test_a_missing_input_is_named(self, launch):
        with pytest.raises(InputError, match="n: is missing"):
            launch(inputs={})

    def test_a_reference_is_taken_as_it_is(self, launch):
        ref = value(3)["value"]
        assert launch(inputs={}, input_refs={"n": ref}).inputs == {"n": ref}

    @pytest.mark.parametrize(
        ("ref", "message"),
        [
            ({"type": "json", "digest": "0" * 64, "size": 1, "inline": 3}, "not that of the value"),
            ({"type": "json", "digest": "0" * 64, "size": 1, "blob": "0" * 64}, "not in the store"),
            ({"type": "file", "digest": "0" * 64, "size": 1, "blob": "0" * 64, "name": "x"}, "expected a int"),
            ({"type": "json", "digest": digest_of(b"{}"), "size": 2, "inline": {}}, "not the tagged form"),
            ({"type": "spell"}, "is no value reference"),
            (3, "is no value reference"),
        ],
    )
    def test_a_reference_that_is_not_one_is_refused(self, launch, ref, message):
        with pytest.raises(InputError, match=message):
            launch(inputs={}, input_refs={"n": ref})
        assert _count(Run) == 0

    def test_the_same_key_is_the_same_run(self, launch):
        first = launch(idempotency_key="k")
        assert launch(idempotency_key="k").id == first.id
        assert launch(idempotency_key="other").id != first.id
        assert _count(Run) == 2

    def test_the_same_key_is_the_same_run_also_at_once(self, launch, context, store):
        ids, start = set(), threading.Barrier(4)

        def work():
            with standalone(context):
                project = db.session.scalars(select(Project)).one()
                start.wait(10)
                run = launch_run(
                    db.session, context, store, ROOT, project, workflow="flow", inputs={"n": 1}, idempotency_key="k"
                )
                ids.add(run.id)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(ids) == 1
        assert _count(Run) == 1

    def test_versions_go_by_digest_beginning_and_label(self, launch, register):
        labelled = register(diamond(python="3.13"), label="blue").version
        register(diamond(python="3.14"))
        assert launch(version="blue").version_id == labelled.id
        assert launch(version=labelled.digest[:8]).version_id == labelled.id
        for name in (labelled.digest[:5], "green", "_%"):
            with pytest.raises(NotFoundError):
                launch(version=name)

    def test_a_label_names_the_version_that_was_registered_with_it_last(self, launch, register):
        first, second = diamond(python="3.13"), diamond(python="3.14")
        assert [register(spec, label="prod").label_left for spec in (first, second)] == [None, spec_digest(first)]
        back = register(first, label="prod")
        assert (back.created, back.label_left) == (False, spec_digest(second))
        assert launch(version="prod").version_id == back.version.id
        assert register(first, label="prod").label_left is None
        assert register(first).version.label == "prod", "it stays when none is given"
        lines = db.session.scalars(select(Audit.detail).where(Audit.action == "version.register").order_by(Audit.id))
        assert list(lines)[-3] == {"created": False, "label": "prod", "label_left": spec_digest(second)}

    def test_each_workflow_has_labels_of_its_own(self, launch, register):
        one, other = register(diamond(), label="prod"), register(diamond(name="other"), label="prod")
        assert other.label_left is None
        assert launch(version="prod").version_id == one.version.id

    def test_an_unknown_workflow_is_told_the_known_ones(self, launch):
        with pytest.raises(NotFoundError, match='did you mean "flow"'):
            launch(workflow="flo")

    def test_options_for_steps_that_do_not_exist_are_told_with_the_nearest(self, launch):
        assert launch(options={"refresh": ["a", "d"], "no_cache": False}).options["refresh"] == ["a", "d"]
        with pytest.raises(InputError) as caught:
            launch(options={"refresh": ["aa"], "no_cache": ["nothing-like"]})
        told = {problem.where: problem.message for problem in caught.value.problems}
        assert told["options.refresh"] == 'there is no step "aa"; did you mean "a"?'
        assert told["options.no_cache"] == 'there is no step "nothing-like"; there are: d, b, c, a'
        with pytest.raises(InputError, match="true or false, or a list of steps"):
            launch(options={"refresh": [1]})

    def test_a_viewer_cannot_launch(self, launch, project):
        with pytest.raises(AccessError):
            launch(principal=Principal("bob", roles={project.id: "viewer"}))

    def test_a_launch_costs_the_same_however_many_steps_there_are(self, launch, register):
        from tests.unit.app.specs import wide

        def launching(count):
            register(wide(count) | {"name": f"flow-{count}"})
            launch(workflow=f"flow-{count}", inputs={})
            return lambda: [launch(workflow=f"flow-{count}", inputs={}) for _ in range(5)]

        assert growth(launching, 10, 5_000) * 500 < 5


class TestSource:
    def test_the_engine_reads_what_was_committed(self, launch, store):
        run = launch(options={"no_cache": True})
        source = run_source.load_run(run.id)
        assert source.project == "default"
        assert source.inputs == run.inputs
        assert source.options == {"no_cache": True}
        assert (source.epoch, source.status, source.control) == (1, "queued", "run")
        assert len(Plan.from_bytes(store.get_blob(source.plan_blob))) == 4

    def test_an_unknown_run_is_told(self, context):
        with pytest.raises(NotFoundError):
            run_source.load_run("nope")
        with pytest.raises(NotFoundError):
            run_source.raise_epoch("nope", 1, {})

    def test_an_epoch_is_raised_with_the_results_that_it_adopts(self, launch):
        run = launch()
        assert run_source.raise_epoch(run.id, 1, {"0": "1.2"}) == 2
        assert run_source.raise_epoch(run.id, 2, {"0": "2.1", "1": "2.1"}) == 3
        assert run_source.load_run(run.id).adopted == {"0": "1.2", "1": "2.1"}

    def test_an_epoch_is_raised_once_by_all_who_read_it_and_never_after_the_end(self, launch):
        run, over = launch(), launch()
        assert run_source.raise_epoch(run.id, 1, {"0": "1.2"}) == 2
        assert run_source.raise_epoch(run.id, 1, {"1": "1.1"}) is None
        found = run_source.load_run(run.id)
        assert (found.epoch, found.adopted) == (2, {"0": "1.2"})
        with writing(db.session) as session:
            session.get(Run, over.id).status = "cancelled"
        assert run_source.raise_epoch(over.id, 1, {}) is None
        assert run_source.load_run(over.id).epoch == 1

    def test_a_cancel_is_committed_and_reaches_the_sweeper(self, launch, context, project):
        run, other = launch(), launch()
        cancel_run(db.session, context, ROOT, project, run)
        cancel_run(db.session, context, ROOT, project, run)
        assert run_source.load_run(run.id).control == run_source.control_of(run.id) == "cancel"
        assert run_source.unfinished() == {run.id: Unfinished("cancel", 1), other.id: Unfinished("run", 1)}
        assert _count(Audit) == 4

    def test_cancelling_what_has_ended_changes_nothing(self, launch, context, project):
        run = launch()
        with writing(db.session):
            run.status = "succeeded"
        cancel_run(db.session, context, ROOT, project, run)
        assert run_source.load_run(run.id).control == "run"
        assert run_source.unfinished() == {}


def test_the_message_is_small_and_says_the_run_id_only(launch, context, project, store, redis_url):
    config = replace(context, broker_url=redis_url)
    run = launch_run(db.session, config, store, ROOT, project, workflow="flow", inputs={"n": 3})
    with redis.Redis.from_url(redis_url) as client:
        (message,) = client.lrange("control", 0, -1)
    assert len(message) <= 1200
    assert json.loads(message)["headers"]["task"] == "celesta.start"
    assert canonical([run.id]).decode() in base64.b64decode(json.loads(message)["body"]).decode()


def test_a_dead_broker_is_no_error(launch, context, project, store, tmp_path):
    config = replace(context, broker_url=f"unix://{tmp_path}/nobody")
    run = launch_run(db.session, config, store, ROOT, project, workflow="flow", inputs={"n": 3})
    assert run.published_at is None


def test_a_launch_is_refused_a_secret_that_is_not_open_to_its_project(context, project, store, register):
    register(spec([task("f", secrets=["HF_TOKEN"])], [step("f", inputs={"x": value(1)})]))
    with pytest.raises(InputError, match="adds default:HF_TOKEN to CELESTA_SECRETS"):
        launch_run(db.session, context, store, ROOT, project, workflow="flow")
    assert _count(Run) == 0
    opened = replace(context, secrets={"default": {"HF_TOKEN": "HF_TOKEN"}})
    assert launch_run(db.session, opened, store, ROOT, project, workflow="flow").id
