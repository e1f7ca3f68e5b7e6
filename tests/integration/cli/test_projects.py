"""`celesta projects`: members, tokens, and two projects that cannot see each other, as people use them with a token."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.db import db
from app.services.owner_make import make_owner
from tests.fixtures.home import short_directory
from tests.fixtures.playground import OPERATOR, Playground, playground_config, serving
from tests.fixtures.stack import CELESTA
from tests.unit.app.specs import diamond


@dataclass
class Person:
    """Somebody at a command line, far from the server."""

    team: Playground
    token: str

    def run(self, *arguments: str, status: int = 0, project: str = "") -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CELESTA_")}
        environ |= {
            "CELESTA_URL": self.team.url,
            "CELESTA_TOKEN": self.token,
            "CELESTA_HOME": str(self.team.config.home),
        }
        command = [CELESTA, *arguments, *(("--project", project) if project else ())]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options).stdout)


@pytest.fixture
def team(redis_url: str) -> Iterator[Playground]:
    with short_directory("celesta-team-") as home:
        config = playground_config(home, redis_url)
        with serving(config, loopback_auth=False, secret_key="0123456789abcdef") as found:
            yield found


@pytest.fixture
def ada(team: Playground) -> Person:
    """The first owner, as ``celesta db owner`` makes one."""
    with team.app.app_context():
        return Person(team, make_owner(db.session, OPERATOR, "default", "ada")[1])


def test_members_are_set_listed_and_removed(ada: Person) -> None:
    ada.run("projects", "members", "set", "bob", "viewer")
    assert ada.json("projects", "members", "set", "bob", "editor") == {"user": "bob", "role": "editor"}
    assert ada.json("projects", "members", "list") == [
        {"user": "ada", "role": "owner"},
        {"user": "bob", "role": "editor"},
    ]
    assert ada.json("projects", "members", "remove", "bob") == {"user": "bob", "removed": True}
    assert "bob" not in ada.run("projects", "members", "list").stdout
    assert "last owner" in ada.run("projects", "members", "remove", "ada", status=2).stderr
    assert "bob" in ada.run("projects", "members", "remove", "bob", status=2).stderr


def test_a_token_is_told_once_listed_masked_and_ends_when_it_is_deleted(ada: Person, team: Playground) -> None:
    ada.run("projects", "members", "set", "bob", "editor")
    made = ada.json("projects", "tokens", "create", "laptop", "--user", "bob", "--role", "editor")
    bob = Person(team, made["token"])
    assert bob.json("runs", "list") == []
    for listed in (ada.run("projects", "tokens", "list").stdout, json.dumps(ada.json("projects", "tokens", "list"))):
        assert made["prefix"] in listed
        assert made["token"] not in listed
    assert ada.json("projects", "tokens", "delete", str(made["id"])) == {"id": str(made["id"]), "revoked": True}
    assert "revoked" in bob.run("runs", "list", status=2).stderr
    (line,) = [text for text in ada.run("projects", "tokens", "list").stdout.splitlines() if "laptop" in text]
    assert "revoked" in line
    assert "bob" in line
    assert "no token 999" in ada.run("projects", "tokens", "delete", "999", status=2).stderr
    assert "no member" in ada.run("projects", "tokens", "create", "x", "--user", "zoe", status=2).stderr


def test_a_token_is_deleted_by_its_number(ada: Person) -> None:
    for name in ("laptop", "9" * 30):
        told = ada.run("projects", "tokens", "delete", name, status=2).stderr
        assert f'there is no token "{name}": ids of tokens are numbers; see: celesta projects tokens list' in told


def test_all_that_is_wrong_with_an_eviction_is_told_at_once(ada: Person) -> None:
    told = ada.run("cache", "evict", "--older-than", "x", "--larger-than", "y", status=2).stderr
    assert "--older-than: 'x' is not understood; write for example 30d" in told
    assert "--larger-than: 'y' is not understood; write for example 100M" in told
    assert "SIZE: " in ada.run("cache", "limit", "9" * 20, status=2).stderr


def test_a_label_that_leaves_a_version_is_told(ada: Person, tmp_path: Path) -> None:
    file, made = tmp_path / "flow.py", []
    for factor in (2, 3, 2):
        file.write_text(f"from celesta import task\n\n\n@task\ndef scale(n: int) -> int:\n    return {factor} * n\n")
        made.append(ada.json("register", str(file), "--label", "prod")[0])
    first, second, back = made
    assert (first["label_left"], second["label_left"]) == (None, first["version"])
    assert (back["created"], back["label_left"]) == (False, second["version"])
    assert ada.json("workflows", "versions", "scale")[0]["label"] is None
    file.write_text(file.read_text().replace("2 *", "3 *"))
    told = ada.run("register", str(file), "--label", "prod").stdout
    assert f"Moved prod of scale from version {first['version'][:12]}." in told


def test_a_plain_create_prints_the_token_and_nothing_else(ada: Person, team: Playground) -> None:
    secret = ada.run("projects", "tokens", "create", "mine").stdout.strip()
    assert Person(team, secret).json("runs", "list") == []


def test_a_token_for_all_projects_is_for_oneself(ada: Person, team: Playground) -> None:
    ada.run("projects", "create", "vision")
    ada.run("projects", "members", "set", "bob", "editor")
    wide = ada.json("projects", "tokens", "create", "wide", "--all-projects")
    assert [p["name"] for p in Person(team, wide["token"]).json("projects", "list")] == ["default", "vision"]
    refused = ada.run("projects", "tokens", "create", "wide", "--all-projects", "--user", "bob", status=2)
    assert 'only "bob"' in refused.stderr


def test_two_projects_with_three_roles_each_cannot_see_each_other(ada: Person, team: Playground) -> None:
    people: dict[tuple[str, str], Person] = {}
    for project in ("one", "two"):
        ada.run("projects", "create", project)
        team.register(diamond(), project)
        for role in ("viewer", "editor", "owner"):
            user = f"{role}-of-{project}"
            ada.run("projects", "members", "set", user, role, project=project)
            made = ada.json("projects", "tokens", "create", user, "--user", user, "--role", role, project=project)
            people[project, role] = Person(team, made["token"])
    run = team.launch(project="one", inputs={"n": 1})
    for (project, role), person in people.items():
        other = "two" if project == "one" else "one"
        assert [p["name"] for p in person.json("projects", "list")] == [project]
        assert [w["name"] for w in person.json("workflows", "list", project=project)] == ["flow"]
        for words in (("runs", "list"), ("projects", "members", "list")):
            assert f'no project "{other}"' in person.run(*words, status=2, project=other).stderr
        assert (run in person.run("runs", "list", project=project).stdout) == (project == "one")
        launch = ("launch", "flow", "--n", "1", "--no-wait")
        assert person.run(*launch, status=2 if role == "viewer" else 0, project=project)
        person.run("projects", "members", "set", "zoe", "viewer", status=0 if role == "owner" else 2, project=project)


def test_all_that_is_wrong_with_a_schedule_is_told_at_once(ada: Person, team: Playground) -> None:
    team.register(diamond())
    told = ada.run("schedules", "create", "nightly", "flow", "--cron", "every day", status=2).stderr
    assert "inputs.n: is missing" in told
    assert "every day" in told


def test_a_schedule_is_created_listed_and_deleted(ada: Person, team: Playground) -> None:
    team.register(diamond())
    made = ada.json("schedules", "create", "nightly", "flow", "--cron", "0 6 * * *", "--input", "n=1")
    assert [s["name"] for s in ada.json("schedules", "list")] == [made["name"]] == ["nightly"]
    assert ada.json("schedules", "delete", "nightly") == {"name": "nightly", "deleted": True}
    assert ada.json("schedules", "list") == []
    assert "nightly" in ada.run("schedules", "delete", "nightly", status=2).stderr
