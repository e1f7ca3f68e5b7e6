"""People sign in to a server that trusts nobody: with a token, in a browser, until the token ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import stream_encode_multipart

from app.db import db, writing
from app.models import Token
from app.models.columns import now
from app.services.member_set import set_member
from app.services.token_issue import issue_token
from app.services.token_revoke import revoke_token
from app.web.sign_in import TRIES
from celesta.hashing import digest_of
from tests.fixtures.home import short_directory
from tests.fixtures.playground import OPERATOR, Answer, Playground, playground_config, serving
from tests.unit.app.specs import taker

RUNS = "/projects/default/runs"
KEY = "0123456789abcdef"
FILE = {"kind": "file"}


@pytest.fixture
def team(redis_url: str) -> Iterator[Playground]:
    """A server without loopback authentication."""
    with short_directory("celesta-team-") as home:
        config = playground_config(home, redis_url)
        with serving(config, loopback_auth=False, secret_key=KEY) as found:
            yield found


def token_of(team: Playground, user: str = "ada", role: str = "owner", **options: Any) -> tuple[int, str]:
    with team.app.app_context():
        project = team._project("default")
        set_member(db.session, OPERATOR, project, user, role)
        token, secret = issue_token(db.session, OPERATOR, project, user, role, **options)
        return token.id, secret


class Browser:
    """Keeps the cookie, reads forms, follows nothing."""

    def __init__(self, team: Playground, cookie: str = "") -> None:
        self.team = team
        self.cookie = cookie
        self.attributes = ""
        self.form = ""

    def go(self, path: str, **headers: str) -> Answer:
        return self._seen(self.team.call("GET", path, Accept="text/html", Cookie=self.cookie, **headers))

    def send(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        body = urlencode({"csrf_token": self.form} | (fields or {})).encode()
        kind = {"Content_Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Cookie": self.cookie}
        return self._seen(self.team.call("POST", path, data=body, **kind | headers))

    def upload(self, path: str, field: str, data: bytes, **fields: str) -> Answer:
        """Sends a form with a file in it, as a page of ours does."""
        sent: dict[str, Any] = {"csrf_token": self.form, **fields, field: FileStorage(BytesIO(data), "data.bin")}
        stream, _, boundary = stream_encode_multipart(sent)
        kind = {
            "Content_Type": f"multipart/form-data; boundary={boundary}",
            "Accept": "text/html",
            "Origin": self.team.url,
        }
        return self._seen(self.team.call("POST", path, data=stream.read(), Cookie=self.cookie, **kind))

    def sign_in(self, secret: str, path: str = "/sign-in", **headers: str) -> Answer:
        self.go(path)
        return self.send(path, {"token": secret}, **headers)

    def _seen(self, answer: Answer) -> Answer:
        if "set-cookie" in answer.headers:
            self.cookie, _, self.attributes = answer.headers["set-cookie"].partition(";")
        found = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
        self.form = found.group(1) if found else self.form
        return answer


@pytest.fixture
def browser(team: Playground) -> Browser:
    return Browser(team)


def test_a_page_sends_who_is_not_known_to_sign_in_and_back(team: Playground, browser: Browser) -> None:
    asked = browser.go(f"{RUNS}?status=failed&workflow=gr%C3%B6%C3%9Fe")
    assert asked.status == 303
    where = asked.headers["location"]
    assert where.startswith("/sign-in?next=/projects/default/runs")
    page = browser.go(where)
    assert page.status == 200
    assert re.search(r'<label for="token">Token</label>\s*<input id="token"', page.text)
    done = browser.send(where, {"token": token_of(team)[1]})
    assert done.status == 303
    assert done.headers["location"] == f"{RUNS}?status=failed&workflow=gr%C3%B6%C3%9Fe"
    home = browser.go(done.headers["location"])
    assert home.status == 200
    assert "ada</span>" in home.text


def test_programs_are_told_401_as_json(team: Playground) -> None:
    for path in ("runs", "/api/v1/me", "/api/v1/projects"):
        answer = team.call("GET", path, Accept="text/html")
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")


def test_the_session_works_for_reading_the_rest_interface(team: Playground, browser: Browser) -> None:
    browser.sign_in(token_of(team, role="viewer")[1])
    assert browser.go("/api/v1/me").json == {"name": "ada", "projects": {"default": "viewer"}, "restricted": True}


def test_the_cookie_is_out_of_reach_of_scripts_and_holds_no_token(team: Playground, browser: Browser) -> None:
    secret = token_of(team)[1]
    browser.sign_in(secret)
    assert "HttpOnly" in browser.attributes
    assert "SameSite=Lax" in browser.attributes
    assert "Secure" not in browser.attributes
    payload = browser.team.app.session_interface.get_signing_serializer(team.app).loads(browser.cookie[8:])
    assert secret[12:] not in str(payload)


def test_the_cookie_goes_over_https_only_where_people_use_https(redis_url: str) -> None:
    with short_directory("celesta-team-") as home:
        config = playground_config(home, redis_url)
        with serving(config, loopback_auth=False, secret_key=KEY, url="https://celesta.example") as team:
            browser = Browser(team)
            origin = {"Origin": "https://celesta.example", "Sec_Fetch_Site": "same-origin"}
            assert browser.sign_in(token_of(team)[1], **origin).status == 303
            assert "Secure" in browser.attributes


def test_a_wrong_token_is_told_beside_the_field(browser: Browser) -> None:
    for wrong in ("", "cel_" + "0" * 64, "x" * 3000, "cel_ü"):
        answer = browser.sign_in(wrong)
        assert answer.status == 401
        assert 'role="alert">The token is not known' in answer.text
        assert 'aria-invalid="true"' in answer.text
    assert browser.go(RUNS).status == 303


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/%5c/..//x\t",
        "javascript:x",
        "x",
        "/a\nb",
        "/\t/x",
    ],
)
def test_signing_in_leads_to_a_page_of_this_server_only(team: Playground, browser: Browser, elsewhere: str) -> None:
    answer = browser.sign_in(token_of(team)[1], f"/sign-in?{urlencode({'next': elsewhere})}")
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_a_file_that_somebody_chose_in_a_form_is_an_input_of_the_run(team: Playground, browser: Browser) -> None:
    team.register(taker(FILE))
    browser.sign_in(token_of(team, role="editor")[1])
    browser.go("/projects/default/workflows/taker")
    made = browser.upload("/projects/default/workflows/taker/launch", "input:data", b"new to the project")
    assert made.status == 303, made.text
    run = made.headers["location"].rpartition("/")[2]
    team.finish(run)
    browser.go(f"{RUNS}/{run}/rerun")
    shown = browser.upload(f"{RUNS}/{run}/rerun", "input:data", b"new as well", do="preview")
    assert shown.status == 200
    chosen = re.search(r'name="ref:data" value="([^"]+)"', shown.text)
    assert chosen is not None, "the file stays chosen"
    assert json.loads(unescape(chosen.group(1)))["digest"] == digest_of(b"new as well")
    again = browser.send(
        f"{RUNS}/{run}/rerun", {"do": "launch", "ref:data": unescape(chosen.group(1))}, Origin=team.url
    )
    assert again.status == 303, again.text


def test_a_session_ends_with_its_token(team: Playground, browser: Browser) -> None:
    number, secret = token_of(team)
    browser.sign_in(secret)
    assert browser.go(RUNS).status == 200
    with team.app.app_context():
        revoke_token(db.session, OPERATOR, team._project("default"), number)
    assert browser.go(RUNS).status == 303
    assert browser.go("/api/v1/me").status == 401


def test_a_session_ends_when_its_token_expires(team: Playground, browser: Browser) -> None:
    number, secret = token_of(team, expires_at=now() + timedelta(hours=1))
    browser.sign_in(secret)
    assert browser.go(RUNS).status == 200
    with team.app.app_context(), writing(db.session) as session:
        session.get(Token, number).expires_at = now()
    assert browser.go(RUNS).status == 303


def test_a_session_of_an_earlier_database_is_nobodys(team: Playground, browser: Browser) -> None:
    number, secret = token_of(team)
    browser.sign_in(secret)
    with team.app.app_context(), writing(db.session) as session:
        session.get(Token, number).prefix = "cel_00000000"
    assert browser.go(RUNS).status == 303


def test_a_cookie_that_we_did_not_sign_is_nobodys(team: Playground, browser: Browser) -> None:
    browser.sign_in(token_of(team)[1])
    value = browser.cookie
    assert Browser(team, value[:-4] + "AAAA").go(RUNS).status == 303
    assert Browser(team, value).go(RUNS).status == 200


def test_signing_in_changes_the_secret_of_forms(team: Playground, browser: Browser) -> None:
    browser.go("/sign-in")
    before, cookie = browser.form, browser.cookie
    browser.sign_in(token_of(team)[1])
    browser.go(RUNS)
    assert browser.form != before
    assert Browser(team, cookie).go(RUNS).status == 303


def test_a_change_by_cookie_needs_the_secret_of_a_form_and_our_own_origin(team: Playground, browser: Browser) -> None:
    browser.sign_in(token_of(team)[1])
    browser.go(RUNS)
    call = {"Cookie": browser.cookie}
    member = {"role": "viewer"}
    assert team.call("PUT", "members/bob", member, **call).status == 403
    ours = call | {"X_CSRF_Token": browser.form}
    for foreign in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "null"}):
        assert team.call("PUT", "members/bob", member, **ours | foreign).status == 403, foreign
    assert team.call("PUT", "members/bob", member, Origin=team.url, **ours).status == 200


def test_nobody_is_signed_in_by_a_page_of_another_site(team: Playground, browser: Browser) -> None:
    secret = token_of(team)[1]
    browser.go("/sign-in")
    assert browser.send("/sign-in", {"token": secret, "csrf_token": "guessed"}).status == 401
    assert browser.sign_in(secret, Origin="https://evil.example").status == 401
    assert browser.go(RUNS).status == 303


def test_signing_out_ends_the_session_of_this_browser(team: Playground, browser: Browser) -> None:
    browser.sign_in(token_of(team)[1])
    assert "Sign out" in browser.go(RUNS).text
    assert browser.send("/sign-out", {"csrf_token": "guessed"}).status == 403
    browser.go(RUNS)
    out = browser.send("/sign-out")
    assert (out.status, out.headers["location"]) == (303, "/sign-in")
    assert browser.go(RUNS).status == 303


def test_who_is_signed_in_is_not_asked_again(team: Playground, browser: Browser) -> None:
    browser.sign_in(token_of(team)[1])
    assert browser.go(f"/sign-in?next={RUNS}").headers["location"] == RUNS


def test_a_form_of_a_session_that_ended_leads_to_sign_in(team: Playground, browser: Browser) -> None:
    answer = browser.send(f"{RUNS}/1/cancel")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in")


def test_wrong_tokens_are_refused_unseen_after_some_tries_for_a_while(team: Playground, browser: Browser) -> None:
    for _ in range(TRIES):
        assert browser.sign_in("wrong").status == 401
    secret = token_of(team)[1]
    refused = browser.sign_in(secret)
    assert refused.status == 429
    assert "Too many wrong tokens" in refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert team.call("GET", "/api/v1/me", Authorization=f"Bearer {secret}").status == 200
    (key,) = team.redis.keys("celesta:sign-in:*")
    assert 0 < team.redis.ttl(key) <= 60
    team.redis.delete(key)
    assert browser.sign_in(secret).status == 303


def test_a_form_larger_than_a_token_is_not_read(browser: Browser) -> None:
    assert browser.sign_in("x" * 100_000).status == 413


def test_two_projects_are_apart_for_those_who_signed_in(team: Playground) -> None:
    team.new_project("other")
    roles = {"vic": "viewer", "edi": "editor", "ola": "owner"}
    for user, role in roles.items():
        browser = Browser(team)
        browser.sign_in(token_of(team, user, role)[1])
        assert browser.go(RUNS).status == 200
        assert browser.go("/projects/other/runs").status == 404
        assert "other" not in browser.go("/projects").text
        added = team.call("PUT", "members/bob", {"role": role}, Cookie=browser.cookie, X_CSRF_Token=browser.form)
        assert added.status == (200 if role == "owner" else 403), user


def test_on_one_machine_a_session_that_ended_leaves_the_operating_system_user(playground: Playground) -> None:
    browser = Browser(playground)
    browser.cookie = playground.app.session_interface.get_signing_serializer(playground.app).dumps(
        {"token": [7, "cel_12345678"]}
    )
    browser.cookie = f"celesta={browser.cookie}"
    assert browser.go(RUNS).status == 200
    assert "Sign out" not in browser.go(RUNS).text
