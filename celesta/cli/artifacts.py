"""`celesta artifacts`: outputs of steps, listed, shown and fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from celesta.cli.lineage import find, lineage
from celesta.cli.output import (
    ago,
    fields,
    json_option,
    limit_option,
    listing,
    print_json,
    project_option,
    put,
    size,
)
from celesta.errors import InputError, Problem

EXTENSIONS = {
    "json": ".json",
    "list": ".json",
    "ndarray": ".npy",
    "table": ".parquet",
    "pickle": ".pkl",
    "directory": ".zip",
}


@click.group()
def artifacts() -> None:
    """List, show and fetch outputs of steps, and see where they came from."""


for command in (find, lineage):
    artifacts.add_command(command)


@artifacts.command("list")
@click.option("--run", metavar="RUN", help="Only outputs of this run.")
@click.option("--digest", metavar="DIGEST", help="Only outputs with this content.")
@limit_option
@project_option
@json_option
def list_artifacts(run: str | None, digest: str | None, limit: int, project: str | None, as_json: bool) -> None:
    """List outputs, the newest first."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.artifacts(run=run, digest=digest, limit=limit))
    listing(
        found,
        as_json,
        ["artifact", "run", "step", "output", "type", "size", "digest", "made"],
        lambda a: (
            str(a["id"]),
            a["run_id"],
            a["path"],
            a["name"],
            a["type"],
            size(a["size"]),
            a["digest"][:12],
            ago(a["created_at"]),
        ),
        empty="No artifacts. They are made by runs: `celesta run FILE WORKFLOW`.",
    )


@artifacts.command()
@click.argument("artifact")
@project_option
@json_option
def show(artifact: str, project: str | None, as_json: bool) -> None:
    """Show what is known of an output."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.artifact(artifact)
    if as_json:
        return print_json(document)
    fields(document.items())


@artifacts.command()
@click.argument("artifact")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File or folder to write to. Default: here.")
@project_option
@json_option
def get(artifact: str, output: Path | None, project: str | None, as_json: bool) -> None:
    """Fetch an output's content to a file, and check it."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.artifact(artifact)
        target = target_of(document, output)
        count = client.download(artifact, target, stored_digest(document))
    if as_json:
        return print_json({"path": str(target.absolute()), "bytes": count})
    put(f"{target} ({size(count)})")


def target_of(document: dict[str, Any], output: Path | None) -> Path:
    """Where to write: the given file, or under the artifact's own name in the given folder."""
    target = output or Path()
    if target.is_dir():
        named = (document.get("ref") or {}).get("name")
        name = Path(named).name if named else f"{document['name']}{EXTENSIONS.get(document['type'], '')}"
        target = target / name
    if not target.parent.is_dir():
        raise InputError([Problem("--output", f"there is no folder {str(target.parent)!r}")])
    return target


def stored_digest(document: dict[str, Any]) -> str | None:
    """What the bytes have to hash to; None for what the server writes out for people (JSON values and lists)."""
    return document.get("blob") if document["type"] in ("file", "ndarray", "table", "pickle") else None
