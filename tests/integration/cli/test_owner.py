"""`celesta db owner`: how a server that trusts nobody gets somebody to trust."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from sqlalchemy import select

from app.access import principal_of_token, project_for
from app.config import Config
from app.db import db
from app.loopback import user_name
from app.models import Audit
from app.services.project_create import create_project
from tests.fixtures.stack import CELESTA
from tests.integration.app.conftest import config, context  # noqa: F401


def owner(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"CELESTA_DATABASE_URL": database_url}
    command = [CELESTA, "db", "owner", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_the_operator_makes_the_first_owner_who_can_do_everything(context: Config) -> None:  # noqa: F811
    done = owner(context.database_url, "ada", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [made[key] for key in ("user", "project", "role")] == ["ada", "default", "owner"]
    ada = principal_of_token(db.session, made["token"])
    assert project_for(db.session, ada, "default", "owner")
    assert create_project(db.session, ada, "of-ada")
    lines = [(line.principal, line.action, line.object) for line in db.session.scalars(select(Audit))]
    assert (user_name(), "member.set", "ada") in lines
    assert (user_name(), "token.issue", made["token"][:12]) in lines
    assert made["token"] not in str(lines)


def test_a_second_time_gives_another_token_and_the_first_stays(context: Config) -> None:  # noqa: F811
    first, second = (owner(context.database_url, "ada").stdout.strip() for _ in range(2))
    assert first != second
    names = {principal_of_token(db.session, secret).name for secret in (first, second)}
    assert names == {"ada"}


def test_the_token_alone_is_on_stdout(context: Config) -> None:  # noqa: F811
    done = owner(context.database_url, "ada")
    assert principal_of_token(db.session, done.stdout.strip())
    assert "shown this once" in done.stderr


def test_an_unknown_project_is_not_made_by_mistyping_it(context: Config) -> None:  # noqa: F811
    refused = owner(context.database_url, "ada", "--project", "vision")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert 'no project "vision"' in refused.stderr
    assert list(db.session.scalars(select(Audit))) == []


def test_a_bad_name_is_refused_and_nothing_is_written(context: Config) -> None:  # noqa: F811
    for name in ("a b", "--", "-x"):
        refused = owner(context.database_url, "--", name)
        assert (refused.returncode, refused.stdout) == (2, ""), name
    assert list(db.session.scalars(select(Audit))) == []


def test_a_server_where_people_sign_in_does_not_start_without_a_key(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CELESTA_")}
    command = [CELESTA, "server", "web", "--bind", "127.0.0.1:0"]
    environ |= {"CELESTA_HOME": str(tmp_path)}
    refused = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: ")
    assert "CELESTA_SECRET_KEY: is not set" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_without_a_schema_says_what_to_do(tmp_path: Path) -> None:
    refused = owner(f"sqlite:///{tmp_path}/empty.db", "ada")
    assert refused.returncode == 2
    assert "celesta db upgrade" in refused.stderr
    assert "Traceback" not in refused.stderr
