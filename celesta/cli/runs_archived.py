"""`celesta runs export | import`: a run as one file, and a file made a run."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from celesta.cli.output import json_option, print_json, project_option, put, size
from celesta.errors import InputError, Problem


@click.command()
@click.argument("run")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.zip")
@project_option
@json_option
def export(run: str, target: Path, project: str | None, as_json: bool) -> None:
    """Write a run to one archive (an RO-Crate): spec, code, inputs, values, logs, metrics, lineage."""
    from celesta.client import Client

    if not target.parent.is_dir():
        raise InputError([Problem("OUT.zip", f"there is no folder {str(target.parent)!r}")])
    with Client.from_env(project) as client:
        count = client.export(run, target)
    if as_json:
        return print_json({"path": str(target.absolute()), "bytes": count})
    put(f"{target} ({size(count)})")


@click.command("import")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@project_option
@json_option
def import_(archive: Path, project: str | None, as_json: bool) -> None:
    """Make a run of an exported archive, once every digest in it was verified."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.import_run(archive)
    if as_json:
        return print_json(document)
    origin = document["origin"]["run_id"]
    put(f"Run {document['run_id']} of {document['workflow']} is the imported {origin}: {document['url']}")
