"""Two people make the same thing in the same instant: one has it, the other is told so; nobody sees a 500."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from app.access import Principal
from app.config import Config
from app.db import db, standalone, writing
from app.models import Member, Project, Schedule, UserAccount
from app.services.member_set import remove_member, set_member
from app.services.project_create import create_project
from app.services.schedule_create import create_schedule
from app.services.version_register import register_version
from app.stores import store_of
from celesta.errors import ConflictError
from tests.fixtures.processes import wait_until
from tests.unit.app.specs import diamond

ROOT = Principal.operator("root")
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"


class Rival:
    """Somebody else, with a connection of their own; `outcome` is what their deed gave or raised."""

    def __init__(self, config: Config, deed: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self.thread = threading.Thread(target=self._act, args=(config, deed), daemon=True)
        self.thread.start()

    def _act(self, config: Config, deed: Callable[[], Any]) -> None:
        with standalone(config):
            try:
                self.outcome = deed()
            except Exception as error:
                self.outcome = error
            finally:
                db.session.remove()


@contextmanager
def while_open(config: Config, deed: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """The block writes in a transaction that is still open while the rival does `deed`; then asks for the outcome.

    On PostgreSQL the rival has read before the block's commit, and waits in the database. On SQLite it waits for the
    writer's place, and reads after.
    """
    with writing(db.session) as session:
        rival: list[Rival] = []

        def outcome() -> Any:
            rival[0].thread.join(20)
            return rival[0].outcome

        yield outcome
        session.flush()
        rival.append(Rival(config, deed))
        if config.database_url.startswith("postgresql"):
            wait_until(lambda: session.scalar(text(BLOCKED)), what="the rival's waiting")


def default() -> Project:
    return db.session.scalars(select(Project).where(Project.name == "default")).one()


def test_of_two_projects_of_a_name_one_is_refused(context: Config) -> None:
    with while_open(context, lambda: create_project(db.session, ROOT, "same")) as outcome:
        db.session.add(Project(name="same"))
    assert isinstance(outcome(), ConflictError)
    assert 'a project "same" already' in str(outcome())
    assert len(db.session.scalars(select(Project).where(Project.name == "same")).all()) == 1


def test_of_two_schedules_of_a_name_one_is_refused(context: Config) -> None:
    store = store_of(context)
    made = register_version(db.session, store, ROOT, default(), diamond())
    wanted: dict[str, Any] = {"name": "same", "cron": "0 3 * * *"}

    def deed() -> Schedule:
        return create_schedule(db.session, store, ROOT, default(), workflow="flow", inputs={"n": 1}, **wanted)

    with while_open(context, deed) as outcome:
        row = Schedule(project_id=default().id, workflow_id=made.workflow.id, created_by="other", **wanted)
        db.session.add(row)
    assert isinstance(outcome(), ConflictError)
    assert len(db.session.scalars(select(Schedule)).all()) == 1


def test_two_who_add_the_same_member_to_a_project_both_have_their_wish(context: Config) -> None:
    with while_open(context, lambda: set_member(db.session, ROOT, default(), "ada", "owner").role) as outcome:
        db.session.execute(select(Project.id).where(Project.name == "default").with_for_update())
        db.session.add(Member(project_id=default().id, user=UserAccount(name="ada"), role="viewer"))
    assert outcome() == "owner"
    assert [member.role for member in db.session.scalars(select(Member)).all()] == ["owner"]


def test_a_user_who_is_made_for_two_projects_at_once_is_a_conflict_at_most(context: Config) -> None:
    create_project(db.session, ROOT, "other")
    with while_open(context, lambda: set_member(db.session, ROOT, default(), "ada", "owner").role) as outcome:
        db.session.add(UserAccount(name="ada"))
    assert outcome() == "owner" or isinstance(outcome(), ConflictError)
    assert set_member(db.session, ROOT, default(), "ada", "owner").role == "owner"


def test_two_owners_cannot_remove_each_other_at_once(context: Config) -> None:
    for name in ("ada", "bob"):
        set_member(db.session, ROOT, default(), name, "owner")
    with while_open(context, lambda: remove_member(db.session, ROOT, default(), "ada")) as outcome:
        db.session.execute(select(Project.id).where(Project.name == "default").with_for_update())
        bob = select(Member).join(UserAccount).where(UserAccount.name == "bob")
        db.session.delete(db.session.scalars(bob).one())
    assert isinstance(outcome(), ConflictError)


@pytest.mark.parametrize("given", ["", "x"])
def test_other_breaches_of_a_constraint_are_not_hidden(context: Config, given: str) -> None:
    with pytest.raises(ConflictError if given else IntegrityError), writing(db.session, given):
        db.session.add_all([Project(name="twin"), Project(name="twin")])
