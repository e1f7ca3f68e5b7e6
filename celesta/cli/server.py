"""`celesta server ROLE`, `celesta db …`, `celesta store …`: the parts of a server, for containers and service managers.

This process becomes the role; it does not load it (see `celesta.cli`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import rich_click as click

from celesta.cli.output import json_option
from celesta.settings import server_command

ROLES = {
    "web": "REST API and dashboard.",
    "worker": "Takes steps from the queue and runs them.",
    "recorder": "Writes what happened to the database; starts runs, and repairs what was lost.",
    "beat": "Fires schedules.",
    "watcher": "Follows the pods of steps on Kubernetes, and says when they end.",
}


@click.group()
def server() -> None:
    """Run one role of a server, configured by CELESTA_* variables."""


@server.command(help=ROLES["web"])
@click.option("--bind", default="127.0.0.1:8420", show_default=True, metavar="HOST:PORT", help="Where to listen.")
def web(bind: str) -> None:
    become("web", "--bind", bind)


@server.command(help=ROLES["worker"])
@click.option("--slots", type=click.IntRange(min=1), help="Steps at a time. Default: CELESTA_SLOTS, else processors.")
def worker(slots: int | None) -> None:
    become("worker", *(("--slots", str(slots)) if slots else ()))


@server.command(help=ROLES["recorder"])
def recorder() -> None:
    become("recorder")


@server.command(help=ROLES["beat"])
def beat() -> None:
    become("beat")


@server.command(help=ROLES["watcher"])
def watcher() -> None:
    become("watcher")


@server.command()
@click.option("--within", "seconds", type=float, default=60.0, show_default=True, help="Seconds that it may be silent.")
def alive(seconds: float) -> None:
    """Exit with 0 when the role beside this has done its work lately, by CELESTA_ALIVE_FILE. For probes."""
    file = os.environ.get("CELESTA_ALIVE_FILE", "")
    try:
        silent = time.time() - Path(file).stat().st_mtime
    except OSError as error:
        raise click.ClickException(f"CELESTA_ALIVE_FILE ({file or 'not set'}) is not there: {error.strerror}") from None
    if silent > seconds:
        raise click.ClickException(f"the role has done nothing for {silent:.0f} s")


@click.group()
def db() -> None:
    """Upgrade the server's database, and give it its first owner."""


@db.command()
def upgrade() -> None:
    """Bring the database of CELESTA_DATABASE_URL to the newest schema. Harmless when it is there already."""
    become("upgrade")


@db.command()
@click.argument("name")
@click.option("--project", metavar="P", default="default", show_default=True, help="The project to own.")
@json_option
def owner(name: str, project: str, as_json: bool) -> None:
    """Make NAME an owner of a project, and print a new token for NAME, this once.

    For the operator, on the server: needs CELESTA_DATABASE_URL, and no token. Earlier tokens stay as they are.
    """
    become_program("workers.operator", "owner", "--project", project, *(("--json",) if as_json else ()), "--", name)


@click.group()
def store() -> None:
    """Look after the server's store."""


@store.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--older-than", type=float, default=24.0, show_default=True, metavar="HOURS", help="At least 2.")
@json_option
def gc(dry_run: bool, older_than: float, as_json: bool) -> None:
    """Delete the blobs that nothing refers to. Safe while runs go on.

    For the operator, on the server. Only what was neither written nor relied on for so many hours is deleted.
    """
    flags = (*(("--dry-run",) if dry_run else ()), *(("--json",) if as_json else ()))
    become_program("workers.operator", "gc", "--older-than", str(older_than), *flags)


def become(role: str, *options: str) -> None:
    become_program("workers.server", role, *options)


def become_program(module: str, *arguments: str) -> None:
    command = server_command(module, *arguments)
    os.execv(command[0], command)  # noqa: S606
