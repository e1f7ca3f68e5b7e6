"""Who may do what, over a real database; the loopback rule over a real socket."""

import json
import threading
import urllib.request
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask, request
from sqlalchemy import select
from werkzeug.serving import make_server

from app.access import Principal, UnauthorizedError, authenticate, principal_of_token, project_for
from app.db import configure, db
from app.loopback import user_name
from app.models import Audit, Token
from app.models.columns import now
from app.services.member_set import remove_member, set_member
from app.services.project_create import create_project
from app.services.token_issue import issue_token
from app.services.token_revoke import revoke_token
from celesta.errors import AccessError, ConflictError, InputError, NotFoundError

ROOT = Principal.operator("root")


@pytest.fixture
def projects(context):
    """Two projects; ada owns the first, bob may view it, eve owns the second."""
    first, second = create_project(db.session, ROOT, "first"), create_project(db.session, ROOT, "second")
    set_member(db.session, ROOT, first, "ada", "owner")
    set_member(db.session, ROOT, first, "bob", "viewer")
    set_member(db.session, ROOT, second, "eve", "owner")
    return first, second


def _token(project, user, role, **options):
    return issue_token(db.session, ROOT, project, user, role, **options)


def _principal(project, user, role, **options):
    return principal_of_token(db.session, _token(project, user, role, **options)[1])


def test_the_default_project_is_there_from_the_start(context):
    assert project_for(db.session, ROOT, "default").name == "default"


def test_one_project_cannot_see_the_other(projects):
    ada = _principal(projects[0], "ada", "owner")
    assert project_for(db.session, ada, "first", "owner").name == "first"
    for name in ("second", "no-such"):
        with pytest.raises(NotFoundError):
            project_for(db.session, ada, name)


def test_roles_are_ordered_and_a_low_one_is_told_so(projects):
    bob = _principal(projects[0], "bob", "viewer")
    assert project_for(db.session, bob, "first", "viewer")
    with pytest.raises(AccessError, match="needs editor"):
        project_for(db.session, bob, "first", "editor")


def test_a_token_gives_no_more_than_its_user_has(projects):
    bob = _principal(projects[0], "bob", "owner")
    assert bob.role_in(projects[0].id) == "viewer"


def test_a_token_gives_no_more_than_its_own_role(projects):
    ada = _principal(projects[0], "ada", "viewer")
    assert ada.role_in(projects[0].id) == "viewer"


def test_a_token_of_one_project_is_blind_to_the_users_others(projects):
    set_member(db.session, ROOT, projects[1], "ada", "editor")
    assert set(_principal(projects[0], "ada", "owner").roles) == {projects[0].id}
    assert set(_principal(projects[0], "ada", "owner", all_projects=True).roles) == {p.id for p in projects}


def test_a_lost_membership_ends_the_tokens_right(projects):
    set_member(db.session, ROOT, projects[0], "zoe", "owner")
    secret = _token(projects[0], "ada", "owner")[1]
    remove_member(db.session, ROOT, projects[0], "ada")
    assert principal_of_token(db.session, secret).roles == {}


def test_revoked_expired_and_unknown_tokens_are_refused_alike(projects):
    token, revoked = _token(projects[0], "ada", "owner")
    revoke_token(db.session, ROOT, projects[0], token.id)
    expired = _token(projects[0], "ada", "owner", expires_at=now() - timedelta(seconds=1))[1]
    for secret in (revoked, expired, "cel_" + "0" * 64, "", "cel_", revoked.upper()):
        with pytest.raises(UnauthorizedError, match="not known, expired, or was revoked"):
            principal_of_token(db.session, secret)


def test_the_secret_is_not_kept(projects):
    token, secret = _token(projects[0], "ada", "owner")
    db.session.expire_all()
    assert secret not in {str(value) for value in vars(db.session.get(Token, token.id)).values()}
    assert secret not in str([vars(line) for line in db.session.scalars(select(Audit))])


def test_the_last_use_is_kept_roughly(projects):
    token, secret = _token(projects[0], "ada", "owner")
    principal_of_token(db.session, secret)
    first = db.session.get(Token, token.id).last_used_at
    principal_of_token(db.session, secret)
    assert first is not None
    assert db.session.get(Token, token.id).last_used_at == first


def test_only_owners_change_members_and_tokens(projects):
    bob = _principal(projects[0], "bob", "viewer", all_projects=True)
    for deed in (
        lambda: set_member(db.session, bob, projects[0], "bob", "owner"),
        lambda: remove_member(db.session, bob, projects[0], "ada"),
        lambda: issue_token(db.session, bob, projects[0], "bob", "owner"),
        lambda: revoke_token(db.session, bob, projects[0], 1),
    ):
        with pytest.raises(AccessError):
            deed()


def test_a_tokens_bearer_cannot_make_a_wider_token(projects):
    ada = _principal(projects[0], "ada", "owner")
    with pytest.raises(AccessError, match="cannot make tokens"):
        issue_token(db.session, ada, projects[0], "ada", "owner")
    wide = _principal(projects[0], "ada", "owner", all_projects=True)
    with pytest.raises(AccessError, match='only "bob"'):
        issue_token(db.session, wide, projects[0], "bob", "viewer", all_projects=True)


def test_an_owner_cannot_revoke_a_token_of_another_project(projects):
    token, _ = _token(projects[1], "eve", "owner")
    ada = _principal(projects[0], "ada", "owner", all_projects=True)
    with pytest.raises(NotFoundError):
        revoke_token(db.session, ada, projects[0], token.id)


def test_a_project_keeps_an_owner(projects):
    with pytest.raises(ConflictError, match="last owner"):
        remove_member(db.session, ROOT, projects[0], "ada")
    with pytest.raises(ConflictError, match="last owner"):
        set_member(db.session, ROOT, projects[0], "ada", "editor")


def test_bad_names_and_roles_are_refused_together(projects):
    with pytest.raises(InputError) as caught:
        set_member(db.session, ROOT, projects[0], "a b", "king")
    assert [problem.where for problem in caught.value.problems] == ["user", "role"]
    for name in ("", "UP", "-a", "a" * 51, "a/b", "a\n"):
        with pytest.raises(InputError):
            create_project(db.session, ROOT, name)


def test_who_makes_a_project_owns_it(projects):
    ada = _principal(projects[0], "ada", "owner", all_projects=True)
    create_project(db.session, ada, "third")
    assert project_for(db.session, _principal(projects[0], "ada", "owner", all_projects=True), "third", "owner")
    with pytest.raises(ConflictError):
        create_project(db.session, ada, "third")


def test_every_deed_leaves_a_line_in_the_audit(projects):
    lines = [(line.principal, line.action, line.object) for line in db.session.scalars(select(Audit))]
    assert ("root", "project.create", "first") in lines
    assert ("root", "member.set", "ada") in lines


@pytest.fixture
def ask(context):
    """Ask a real server on loopback who we are."""
    config = replace(context, loopback_auth=True)
    app = Flask(__name__)
    configure(app, config)

    @app.get("/")
    def me():
        try:
            return {"name": authenticate(request, db.session, config).name}
        except AccessError as error:
            return {"code": error.code}

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(**headers):
        url = f"http://127.0.0.1:{server.server_port}/"
        asked = urllib.request.Request(url, headers={name.replace("_", "-"): text for name, text in headers.items()})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    yield ask
    server.shutdown()
    thread.join(10)
    server.server_close()
    with app.app_context():
        db.engine.dispose()


def test_a_real_loopback_request_of_ours_is_known(ask):
    assert ask() == {"name": user_name()}
    assert ask(X_Forwarded_For="127.0.0.1") == {"code": "unauthorized"}
    assert ask(Host="evil.example") == {"code": "unauthorized"}


def test_a_wrong_token_is_refused_also_on_loopback(ask):
    assert ask(Authorization="Bearer cel_" + "0" * 64) == {"code": "unauthorized"}
    assert ask(Authorization="Basic abc") == {"code": "unauthorized"}
