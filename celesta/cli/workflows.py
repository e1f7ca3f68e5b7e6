"""`celesta workflows` and `celesta register`: what the server knows how to run."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from celesta.cli.output import (
    ago,
    fields,
    json_option,
    limit_option,
    listing,
    print_json,
    project_option,
    put,
    short,
    table,
)


@click.group()
def workflows() -> None:
    """List and show workflows."""


@workflows.command("list")
@limit_option
@project_option
@json_option
def list_workflows(limit: int, project: str | None, as_json: bool) -> None:
    """List workflows by name."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.workflows(limit))
    listing(
        found,
        as_json,
        ["workflow", "kind", "version", "versions", "steps", "last run", ""],
        lambda w: (
            w["name"],
            w["kind"],
            (w["active_version"] or "")[:12],
            w["versions"],
            w["steps"],
            ago(w["last_run"]["created_at"]) if w["last_run"] else "",
            w["last_run"]["status"] if w["last_run"] else "",
        ),
        empty="No workflows. Register those of a file with `celesta register FILE`.",
    )


@workflows.command()
@click.argument("workflow", metavar="WORKFLOW[@VERSION]")
@project_option
@json_option
def show(workflow: str, project: str | None, as_json: bool) -> None:
    """Show a workflow: its inputs, outputs and tasks."""
    from celesta.cli.launch import split_version, version_of
    from celesta.client import Client
    from celesta.codecs import preview
    from celesta.types import spell

    name, version = split_version(workflow)
    with Client.from_env(project) as client:
        document = version_of(client, name, version)
    if as_json:
        return print_json(document)
    interface = document["interface"]
    fields(
        [
            ("workflow", name),
            ("version", f"{document['version'][:12]}{' (active)' if document['active'] else ''}"),
            ("label", document["label"]),
            ("steps", str(document["steps"])),
            ("registered", f"{ago(document['created_at'])} by {document['created_by']}"),
        ]
    )
    inputs = [
        (i["name"], spell(i["type"]), preview(i["default"]) if "default" in i else "required")
        for i in interface["inputs"]
    ]
    for title, headings, rows in (
        ("inputs", ["input", "type", "default"], inputs),
        ("outputs", ["output", "type"], [(o["name"], spell(o["type"])) for o in interface["outputs"]]),
        ("tasks", ["task", "", ""], [(t["name"], t["entrypoint"], short(t["doc"] or "")) for t in document["tasks"]]),
    ):
        put()
        table(headings, rows, empty=f"It has no {title}.")
    put(f"\nRun it with `celesta launch {workflow}`.")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option("--label", metavar="NAME", help="A name for these versions, such as a release.")
@project_option
@json_option
def register(files: tuple[Path, ...], label: str | None, project: str | None, as_json: bool) -> None:
    """Register the workflows of files, without running them. Registering the same code again changes nothing."""
    from celesta.cli.source import specs_of
    from celesta.client import Client

    traced = [found for path in files for found in specs_of(path)]
    with Client.from_env(project) as client:
        done = [client.register(spec, blobs, label) for spec, blobs in traced]
    if as_json:
        return print_json(done)
    rows = [(d["workflow"], d["version"][:12], d["steps"], "new" if d["created"] else "known") for d in done]
    table(["workflow", "version", "steps", ""], rows, empty="")
    put(f"\nRun one with `celesta launch {done[0]['workflow']}`.")
