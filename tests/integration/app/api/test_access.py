"""Every route has a permission, and the permission holds."""

from __future__ import annotations

import pytest

from app.access import Principal
from app.db import db
from app.guard import PUBLIC, SIGNED_IN, access_of
from app.models.identity import ROLES
from app.services.member_set import set_member
from app.services.token_issue import issue_token
from tests.fixtures.playground import OPERATOR, Playground
from tests.unit.app.specs import diamond

PUBLIC_ROUTES = {"static", "healthz", "readyz", "metrics", "openapi", "web.asset"}


def routes(playground: Playground) -> list[tuple[str, str, str]]:
    return [
        (rule.endpoint, rule.rule, method)
        for rule in playground.app.url_map.iter_rules()
        for method in sorted(rule.methods - {"OPTIONS", "HEAD"})
    ]


def test_every_route_says_who_may_call_it(playground: Playground) -> None:
    for endpoint, rule, method in routes(playground):
        access = access_of(playground.app, endpoint)
        assert access is not None, f"{method} {rule} has no permission"
        assert (access.role == PUBLIC) == (endpoint in PUBLIC_ROUTES), rule
        assert (access.role in ROLES) == ("<project>" in rule), rule
        if method != "GET" and access.role != SIGNED_IN:
            assert access.role in ("editor", "owner"), f"{method} {rule} changes something and asks for a viewer only"


def test_nobody_is_let_in_without_a_principal(playground: Playground) -> None:
    """A proxy's header takes the operating-system user away, and then there is no principal."""
    for endpoint, rule, method in routes(playground):
        if endpoint not in PUBLIC_ROUTES:
            path = rule.replace("<int:", "<").replace("<path:", "<")
            path = "/".join("1" if part.startswith("<") else part for part in path.split("/"))
            answer = playground.call(method, path, X_Forwarded_For="10.0.0.1")
            assert answer.status == 401, f"{method} {path} answered {answer.status}"


@pytest.fixture
def tokens(playground: Playground) -> dict[str, str]:
    """A token of each role in the project `default`, and of an owner of `other`."""
    playground.new_project("other")
    found = {}
    with playground.app.app_context():
        for name in ("viewer", "editor", "owner", "stranger"):
            project = playground._project("other" if name == "stranger" else "default")
            role = "owner" if name == "stranger" else name
            set_member(db.session, OPERATOR, project, name, role)
            found[name] = issue_token(db.session, OPERATOR, project, name, role)[1]
    return found


def as_user(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_viewer_looks_and_changes_nothing(playground: Playground, tokens: dict[str, str]) -> None:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    headers = as_user(tokens["viewer"])
    assert playground.call("GET", f"runs/{run}", **headers).status == 200
    for method, path, body in (
        ("POST", "runs", {"workflow": "flow"}),
        ("POST", f"runs/{run}/cancel", None),
        ("POST", "versions", {"spec": {}}),
        ("PUT", f"blobs/{'0' * 64}", None),
        ("PUT", "members/friend", {"role": "viewer"}),
        ("POST", "tokens", {"user": "viewer"}),
    ):
        assert playground.call(method, path, body, **headers).status == 403, path


def test_an_editor_launches_and_gives_no_roles(playground: Playground, tokens: dict[str, str]) -> None:
    playground.register(diamond())
    headers = as_user(tokens["editor"])
    answer = playground.call("POST", "runs", {"workflow": "flow", "inputs": {"n": 1}}, **headers)
    assert answer.status == 201
    assert answer.json["created_by"] == "editor"
    assert playground.call("PUT", "members/friend", {"role": "viewer"}, **headers).status == 403


def test_a_stranger_cannot_tell_a_project_from_none(playground: Playground, tokens: dict[str, str]) -> None:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    headers = as_user(tokens["stranger"])
    for path in ("runs", f"runs/{run}", f"runs/{run}/events", "artifacts", "members", "/projects/default/runs"):
        there, nowhere = (playground.call("GET", path, **headers), playground.call("GET", "nothing", **headers))
        assert there.status == 404 == nowhere.status, path
    assert playground.call("GET", "/api/v1/me", **headers).json["projects"] == {"other": "owner"}
    assert [item["name"] for item in playground.call("GET", "/api/v1/projects", **headers).json["items"]] == ["other"]


def test_a_run_is_not_found_through_another_project(playground: Playground, tokens: dict[str, str]) -> None:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    answer = playground.call("GET", f"/api/v1/projects/other/runs/{run}", **as_user(tokens["stranger"]))
    assert answer.status == 404


def test_a_page_of_another_site_cannot_act_as_the_user(playground: Playground) -> None:
    foreign = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
    assert playground.call("POST", "runs", {"workflow": "flow"}, **foreign).status == 401
    assert playground.call("GET", "/api/v1/me", Host="evil.example").status == 401


def test_an_owner_makes_and_revokes_tokens_and_a_token_is_told_once(
    playground: Playground, tokens: dict[str, str]
) -> None:
    headers = as_user(tokens["owner"])
    assert playground.call("POST", "tokens", {"role": "viewer"}, **headers).status == 403  # no token from a token
    made = playground.call("POST", "tokens", {"user": "viewer", "name": "ci"}).json
    listed = playground.get("tokens")["items"]
    assert made["id"] in [token["id"] for token in listed]
    assert all("token" not in token for token in listed)
    assert playground.call("GET", "runs", **as_user(made["token"])).status == 200
    assert playground.call("DELETE", f"tokens/{made['id']}").status == 204
    own = playground.call("POST", "tokens", {"role": "editor"}).json
    assert own["user"] == playground.get("/api/v1/me")["name"]
    assert playground.call("GET", "runs", **as_user(made["token"])).status == 401


def test_members_come_and_go(playground: Playground, tokens: dict[str, str]) -> None:
    assert playground.call("PUT", "members/friend", {"role": "editor"}).json == {"user": "friend", "role": "editor"}
    assert {"user": "friend", "role": "editor"} in playground.get("members")["items"]
    assert playground.call("DELETE", "members/friend").status == 204
    assert "friend" not in [member["user"] for member in playground.get("members")["items"]]
    assert playground.call("PUT", "members/friend", {"role": "king"}).status == 422


def test_a_project_is_made_and_owned(playground: Playground) -> None:
    answer = playground.call("POST", "/api/v1/projects", {"name": "fresh", "description": "x"})
    assert (answer.status, answer.json["role"]) == (201, "owner")
    assert playground.call("POST", "/api/v1/projects", {"name": "fresh"}).status == 409
    assert playground.get("/api/v1/projects/fresh")["description"] == "x"


def test_the_principal_type_of_the_operator_is_owner_everywhere() -> None:
    assert Principal.operator("x").role_in(12345) == "owner"
