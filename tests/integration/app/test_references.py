"""References to registered workflows: found as their author may see them, pinned, and run with their own code."""

import json

import pytest
from sqlalchemy import select

from app.access import Principal
from app.db import db, writing
from app.models import Member, Project, UserAccount
from app.services.project_create import create_project
from app.services.version_register import register_version
from app.stores import store_of
from celesta.errors import SpecError
from tests.unit.app.specs import diamond, output, spec, step, task, value

ROOT = Principal.operator("root")


@pytest.fixture
def store(context):
    return store_of(context)


@pytest.fixture
def project(context):
    return db.session.scalars(select(Project).where(Project.name == "default")).one()


@pytest.fixture
def team(context, project):
    return create_project(db.session, ROOT, "team")


def _calling(text):
    call = {"path": "score", "reference": text, "inputs": {"n": value(3)}, "after": []}
    return spec([task("use")], [call, step("use", inputs={"x": output("score")})], name="outer")


def _register(store, project, document, principal=ROOT, label=None):
    return register_version(db.session, store, principal, project, document, label).version


def _linked(store, version):
    return json.loads(store.get_blob(version.spec_blob))


def _member(project, name, role):
    with writing(db.session):
        user = UserAccount(name=name)
        db.session.add(user)
        db.session.flush()
        db.session.add(Member(project_id=project.id, user_id=user.id, role=role))
    return Principal(name=name, user_id=user.id, roles={project.id: role})


def test_a_reference_is_pinned_to_the_version_that_it_meant(store, project, team):
    first = _register(store, team, diamond(), label="stable")
    outer = _register(store, project, _calling("team/flow"))
    assert _linked(store, outer)["references"]["team/flow"] == {
        "project": "team",
        "workflow": "flow",
        "version": first.digest,
    }
    changed = diamond()
    changed["steps"][0]["inputs"]["z"] = value(8)
    second = _register(store, team, changed)
    again = _register(store, project, _calling("team/flow"))
    assert _linked(store, again)["references"]["team/flow"]["version"] == second.digest
    for name in ("stable", first.digest[:8]):
        assert _register(store, project, _calling(f"team/flow@{name}")).digest == outer.digest


def test_without_a_project_it_is_one_of_this_project(store, project):
    _register(store, project, diamond())
    made = _linked(store, _register(store, project, _calling("flow")))
    assert made["references"]["flow"]["project"] == "default"
    assert {one["path"] for one in made["steps"]} == {"use", "score/a", "score/b", "score/c", "score/d"}


def test_only_who_may_see_a_project_may_refer_to_it(store, project, team):
    _register(store, team, diamond())
    editor = _member(project, "ada", "editor")
    with pytest.raises(SpecError, match='no workflow "team/flow" is shared with project "default"'):
        _register(store, project, _calling("team/flow"), editor)


def test_all_that_is_not_found_is_told_at_once(store, project, team):
    _register(store, team, diamond())
    document = _calling("nowhere/flow")
    document["steps"] += [
        {"path": "b", "reference": "team/flaw", "inputs": {}, "after": []},
        {"path": "c", "reference": "team/flow@v7", "inputs": {}, "after": []},
    ]
    with pytest.raises(SpecError) as caught:
        _register(store, project, document)
    told = str(caught.value)
    assert 'steps.score.reference: nowhere/flow: no workflow "nowhere/flow" is shared' in told
    assert 'steps.b.reference: team/flaw: there is no workflow "flaw"' in told
    assert 'steps.c.reference: team/flow@v7: workflow "flow" has no version "v7"' in told
