"""`celesta workflows`, `celesta tasks` and `celesta register`: what the server knows how to run."""

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
from celesta.cli.versions import activate, diff, recorded, rollback, versions


@click.group()
def workflows() -> None:
    """List, compare, activate and roll back workflows."""


@click.group()
def tasks() -> None:
    """The same for single tasks, which `register` makes workflows of one step."""


def list_of(kind: str, empty: str) -> click.Command:
    """The command that lists what is of a kind."""

    @click.command("list")
    @click.option("--search", metavar="TEXT", help="Only those whose names hold this.")
    @click.option("--shared", is_flag=True, help="Those of other projects that this one may use.")
    @limit_option
    @project_option
    @json_option
    def list_workflows(search: str | None, shared: bool, limit: int, project: str | None, as_json: bool) -> None:
        """List by name."""
        from celesta.client import Client

        if shared:
            return list_shared(kind, search or "", limit, project, as_json)
        with Client.from_env(project) as client:
            found = list(client.workflows(limit, kind=kind or None, search=search))
        listing(
            found,
            as_json,
            [kind or "workflow", "kind", "version", "versions", "steps", "last run", ""],
            lambda w: (
                w["name"],
                w["kind"],
                (w["active_version"] or "")[:12],
                w["versions"],
                w["steps"],
                ago(w["last_run"]["created_at"]) if w["last_run"] else "",
                w["last_run"]["status"] if w["last_run"] else "",
            ),
            empty=empty,
        )

    return list_workflows


@click.command()
@click.argument("workflow", metavar="NAME[@VERSION]")
@project_option
@json_option
def show(workflow: str, project: str | None, as_json: bool) -> None:
    """Show inputs, outputs, tasks, and what was recorded with the version."""
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
            *recorded(document),
        ]
    )
    inputs = [
        (i["name"], spell(i["type"]), preview(i["default"]) if "default" in i else "required")
        for i in interface["inputs"]
    ]
    for title, headings, rows in (
        ("inputs", ["input", "type", "default"], inputs),
        ("outputs", ["output", "type"], [(o["name"], spell(o["type"])) for o in interface["outputs"]]),
        (
            "tasks",
            ["task", "", ""],
            [(t["name"], t["entrypoint"] or t["source"], short(t["doc"] or "")) for t in document["tasks"]],
        ),
    ):
        put()
        table(headings, rows, empty=f"It has no {title}.")
    put(f"\nRun it with `celesta launch {workflow}`.")


def list_shared(kind: str, search: str, limit: int, project: str | None, as_json: bool) -> None:
    """What others share with the project, by the names that it launches them by."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = [one for one in client.shared() if kind in ("", one["kind"]) and search.lower() in one["name"].lower()]
    listing(
        found[:limit],
        as_json,
        [kind or "workflow", "kind", "version", "steps"],
        lambda w: (f"{w['project']}/{w['name']}", w["kind"], (w["active_version"] or "")[:12], w["steps"]),
        empty="No project shares anything with this one; its owner does: celesta projects share.",
    )


for group, kind, nothing in (
    (workflows, "", "No workflows. Register those of a file with `celesta register FILE`."),
    (tasks, "task", "No single tasks. Register those of a file with `celesta register FILE --tasks`."),
):
    group.add_command(list_of(kind, nothing))
    for command in (show, versions, diff, activate, rollback):
        group.add_command(command)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option(
    "--label", metavar="NAME", help="A name for these versions, such as a release; it leaves the version that has it."
)
@click.option("--tasks", "with_tasks", is_flag=True, help="Register each task as well, to be launched by itself.")
@project_option
@json_option
def register(files: tuple[Path, ...], label: str | None, with_tasks: bool, project: str | None, as_json: bool) -> None:
    """Register the workflows of files, without running them, and make these versions the active ones.

    A file without a workflow registers its tasks. Registering the same code again changes nothing.
    """
    from celesta.cli.source import specs_of
    from celesta.client import Client

    traced = [found for path in files for found in specs_of(path, with_tasks)]
    with Client.from_env(project) as client:
        done = [client.register(spec, blobs, label) for spec, blobs in traced]
    if as_json:
        return print_json(done)
    rows = [(d["workflow"], d["version"][:12], d["steps"], "new" if d["created"] else "known") for d in done]
    table(["workflow", "version", "steps", ""], rows, empty="")
    for found in done:
        if found.get("label_left"):
            put(f"\nMoved {label} of {found['workflow']} from version {found['label_left'][:12]}.")
    put(f"\nRun one with `celesta launch {done[0]['workflow']}`.")
