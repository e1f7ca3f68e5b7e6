import multiprocessing
from datetime import UTC, datetime, timedelta, timezone
from shutil import copytree

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.config import Config
from app.db import MIGRATIONS, Base, alembic_config, db, standalone, upgrade, writing
from app.models import Member, Project, Run, Upload, UserAccount, Version, Workflow


def test_migrations_have_one_head(home):
    config = Config(home=home, database_url="sqlite://", redis_url="", broker_url="", store_url="")
    assert len(ScriptDirectory.from_config(alembic_config(config)).get_heads()) == 1


def test_upgraded_database_equals_the_models(context):
    with db.engine.connect() as connection:
        migration = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(migration, Base.metadata) == []


def test_upgrading_twice_changes_nothing(config):
    upgrade(config)


REMAKE = """
from alembic import op
revision, down_revision, branch_labels, depends_on = "remake", "{head}", None, None


def upgrade():
    with op.batch_alter_table("project") as batch:
        batch.alter_column("description", nullable=True)
"""


def test_a_table_that_a_migration_makes_anew_keeps_the_rows_that_refer_to_it(config, tmp_path):
    with standalone(config), writing(db.session) as session:
        session.add_all([Project(id=7, name="p"), UserAccount(id=1, name="u")])
        session.flush()
        session.add(Member(project_id=7, user_id=1, role="owner"))
    scripts = copytree(MIGRATIONS, tmp_path / "migrations")
    alembic = alembic_config(config)
    head = ScriptDirectory.from_config(alembic).get_current_head()
    (scripts / "versions" / "remake.py").write_text(REMAKE.format(head=head))
    alembic.set_main_option("script_location", str(scripts))
    command.upgrade(alembic, "head")
    with standalone(config):
        assert db.session.scalars(select(Member.role)).all() == ["owner"]
        db.session.remove()
        db.engine.dispose()


def test_an_upgrade_keeps_inputs_readable_that_were_launched_before_anybody_wrote_down_who_has_them(config):
    """But not what a reference names beside its value: that was not looked at."""
    refs = {
        "file": {"type": "file", "digest": "a", "size": 1, "blob": "a"},
        "table": {"type": "table", "digest": "of another", "size": 1, "blob": "b"},
        "small": {"type": "json", "digest": "c", "size": 1, "inline": 1},
        "forged": {"type": "json", "digest": "d", "size": 1, "inline": 1, "blob": "e"},
    }
    with standalone(config), writing(db.session) as session:
        session.add_all([Project(id=7, name="p"), Workflow(id=7, project_id=7, name="w", kind="workflow")])
        session.flush()
        known = {"spec_blob": "s", "plan_blob": "s", "interface": {}, "step_count": 1, "environment": {}}
        session.add(Version(id=7, project_id=7, workflow_id=7, digest="v", created_by="u", **known))
        session.flush()
        for name in ("r1", "r2"):
            session.add(Run(id=name, project_id=7, workflow_id=7, version_id=7, inputs=refs, created_by="u"))
    command.downgrade(alembic_config(config), "0014")
    upgrade(config)
    with standalone(config):
        assert sorted(db.session.scalars(select(Upload.digest))) == ["a", "b"]
        assert {at.tzinfo for at in db.session.scalars(select(Upload.at))} == {UTC}
        db.session.remove()
        db.engine.dispose()


def test_an_upgrade_leaves_a_label_to_the_newest_version_that_has_it(config):
    command.downgrade(alembic_config(config), "0015")
    known = {"spec_blob": "s", "plan_blob": "s", "interface": {}, "step_count": 1, "created_by": "u", "project_id": 7}
    labels = {"a": ("w", "prod"), "b": ("w", "prod"), "c": ("w", None), "d": ("w", "test"), "e": ("v", "prod")}
    with standalone(config), writing(db.session) as session:
        session.add(Project(id=7, name="p"))
        session.add_all([Workflow(id=number, project_id=7, name=name) for number, name in ((1, "w"), (2, "v"))])
        session.flush()
        for day, (digest, (workflow, label)) in enumerate(labels.items(), 1):
            row = {"digest": digest, "label": label, "workflow_id": 1 if workflow == "w" else 2}
            session.add(Version(**known, **row, created_at=datetime(2026, 1, day, tzinfo=UTC)))
    upgrade(config)
    with standalone(config):
        found = dict(db.session.execute(select(Version.digest, Version.label)).all())
        assert found == {"a": None, "b": "prod", "c": None, "d": "test", "e": "prod"}
        db.session.remove()
        db.engine.dispose()


def test_moments_come_back_aware_and_in_utc(context):
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    with writing(db.session) as session:
        session.add(Project(name="p", created_at=moment))
    db.session.expire_all()
    read = db.session.scalars(select(Project.created_at).where(Project.name == "p")).one()
    assert read == moment
    assert read.tzinfo is UTC


def test_a_naive_moment_is_refused(context):
    with pytest.raises(Exception, match="no time zone"), writing(db.session) as session:
        session.add(Project(name="p", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_rows_are_refused_outside_a_write_transaction(context):
    db.session.add(Project(name="p"))
    with pytest.raises(RuntimeError, match="writing"):
        db.session.commit()
    db.session.rollback()


def test_a_failed_write_leaves_nothing(context):
    def fail_halfway():
        with writing(db.session) as session:
            session.add(Project(name="p"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert db.session.scalars(select(Project).where(Project.name == "p")).all() == []


def test_foreign_keys_and_checks_hold(context):
    with writing(db.session) as session:
        session.add_all([Project(id=7, name="p"), UserAccount(id=1, name="u")])
    with pytest.raises(IntegrityError), writing(db.session) as session:
        session.add(Member(project_id=9, user_id=1, role="owner"))
    with pytest.raises(IntegrityError), writing(db.session) as session:
        session.add(Member(project_id=7, user_id=1, role="king"))


def _bump(config: Config, times: int) -> None:
    with standalone(config):
        for _ in range(times):
            with writing(db.session) as session:
                project = session.scalars(select(Project).where(Project.name == "p").with_for_update()).one()
                project.description = str(int(project.description) + 1)


def test_processes_lose_no_read_modify_write(context):
    with writing(db.session) as session:
        session.add(Project(name="p", description="0"))
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_bump, args=(context, 40)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    db.session.rollback()
    assert db.session.scalars(select(Project.description).where(Project.name == "p")).one() == "120"
