"""The image and the compose file agree with the code: commands, settings, addresses, health checks."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from app.config import Config

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "celesta:latest"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ROLES = {"web", "worker", "recorder", "beat"}


def resolve(words: list[str]) -> click.Command:
    """The command that ``celesta`` would run, with its options parsed; raises click's usage errors."""
    from celesta.cli.main import celesta

    command: click.Command = celesta
    context = click.Context(command)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, name
        context = click.Context(command, parent=context, info_name=name)
    command.parse_args(context, list(words))
    return command


def commands() -> list[list[str]]:
    listed = [service["command"] for service in OURS.values() if "entrypoint" not in service]
    (default,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)
    return [*listed, yaml.safe_load(default)]


@pytest.mark.parametrize("words", commands(), ids=shlex.join)
def test_every_command_of_a_container_exists_with_its_options(words: list[str]) -> None:
    resolve(words)


def test_the_first_token_of_a_team_is_made_as_the_readme_says() -> None:
    section = (ROOT / "README.md").read_text().partition("## Beyond one machine")[2].partition("\n## ")[0]
    shown = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.S))
    (service, inside), *_ = re.findall(r"^docker compose exec (\w+) celesta (.*)$", shown, re.M)
    assert service in OURS
    assert resolve(shlex.split(inside)).name == "owner"
    for words in re.findall(r"^celesta (.*)$", shown, re.M):
        resolve(shlex.split(words))


def test_a_team_has_to_make_its_own_key_for_sessions() -> None:
    """Whoever knows the key can sign in as anybody, so a key that stands in a file of ours would be none."""
    keys = {service["environment"]["CELESTA_SECRET_KEY"] for service in OURS.values()}
    assert [key.partition(":")[:2] for key in keys] == [("${CELESTA_SECRET_KEY", ":")]
    assert all(":?" in key for key in keys)
    assert 'echo "CELESTA_SECRET_KEY=' in (ROOT / "README.md").read_text()
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_role_has_a_service_and_every_service_a_role() -> None:
    assert {words[1] for words in commands() if words[0] == "server"} == ROLES


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_read_and_accepted_by_the_code(name: str) -> None:
    environ: dict[str, str] = OURS[name]["environment"]
    given = {key: re.sub(r"\$\{\w+:[-?](.*?)\}", r"\1", value) for key, value in environ.items()}
    read = set(re.findall(r'"(CELESTA_\w+)"', (ROOT / "app/config.py").read_text()))
    assert {key for key in given if key.startswith("CELESTA_")} <= read
    config = Config.from_env(given | {"CELESTA_HOME": "/var/lib/celesta"})
    assert config.store_url.startswith("s3://")
    assert config.database_url.startswith("postgresql")


def test_one_port_is_bound_exposed_published_and_asked() -> None:
    web = OURS["web"]
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    assert web["ports"] == [f"{exposed}:{exposed}"]
    assert web["command"][-1] == f"0.0.0.0:{exposed}"
    assert f":{exposed}/readyz" in web["healthcheck"]["test"][-1]


def test_the_health_check_asks_for_a_page_that_exists(home: Path) -> None:
    from app import create_app

    config = Config.from_env({"CELESTA_HOME": str(home), "CELESTA_SECRET_KEY": "x" * 16})
    served = {rule.rule for rule in create_app(config).url_map.iter_rules()}
    assert {"/healthz", "/readyz", "/metrics"} <= served


def test_redis_evicts_nothing_and_keeps_a_log() -> None:
    words = COMPOSE["services"]["redis"]["command"]
    options: dict[str, Any] = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


def test_the_image_has_every_room_and_runs_as_nobody_special() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"celesta", "app", "workers", "templates", "static", "migrations", "constraints.txt"} <= kept
    assert re.search(r"^USER celesta$", DOCKERFILE, re.M)
    assert "ARG BASE_IMAGE" in DOCKERFILE
