"""The versions of a workflow or of a single task: list, compare, activate, roll back.

`celesta.cli.workflows` puts these commands below `celesta workflows` and `celesta tasks` alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import rich_click as click

from celesta.cli.output import ago, json_option, limit_option, listing, print_json, project_option, put, say
from celesta.errors import InputError, Problem

Document = dict[str, Any]


@click.command()
@click.argument("name")
@limit_option
@project_option
@json_option
def versions(name: str, limit: int, project: str | None, as_json: bool) -> None:
    """List versions, the newest first."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.versions(name, limit))
    listing(
        found,
        as_json,
        ["version", "", "label", "steps", "commit", "python", "packages", "registered", "by"],
        lambda v: (
            v["version"][:12],
            "active" if v["active"] else "",
            v["label"],
            v["steps"],
            commit(v),
            (v["environment"] or {}).get("python"),
            ((v["environment"] or {}).get("lock") or "")[:12],
            ago(v["created_at"]),
            v["created_by"],
        ),
        empty=f"No versions of {name}.",
    )


@click.command()
@click.argument("workflow", metavar="NAME@VERSION")
@click.argument("to", required=False, metavar="[TO]")
@project_option
@json_option
def diff(workflow: str, to: str | None, project: str | None, as_json: bool) -> None:
    """Show what changed from VERSION to the version TO, by default to the active one: code, interface, steps."""
    from celesta.client import Client

    name, version = named(workflow, "diff")
    with Client.from_env(project) as client:
        document = client.diff_versions(name, version, to)
    if as_json:
        return print_json(document)
    if document["identical"]:
        return say(f"{version} is the version it is compared with.")
    say(f"{name}: from {document['from'][:12]} to {document['to'][:12]}")
    put("\n".join(lines_of(document)) or "Nothing that can be told differs.")


@click.command()
@click.argument("workflow", metavar="NAME@VERSION")
@project_option
@json_option
def activate(workflow: str, project: str | None, as_json: bool) -> None:
    """Choose the version that `launch` and schedules use.

    Later runs of a changed file do not replace it; `celesta register` does.
    """
    from celesta.client import Client

    name, version = named(workflow, "activate")
    with Client.from_env(project) as client:
        document = client.activate(name, version)
    if as_json:
        return print_json(document)
    put(f"Version {document['version'][:12]} of {name} is the active one.")


@click.command()
@click.argument("name")
@click.option("--to", metavar="VERSION", help="The version to go back to, instead of the one active before.")
@click.option(
    "--alias", "aliases", multiple=True, metavar="MODEL:ALIAS", help="Roll back this alias of a model with it."
)
@project_option
@json_option
def rollback(name: str, to: str | None, aliases: tuple[str, ...], project: str | None, as_json: bool) -> None:
    """Go back to the version that was active before, the schedules along with it."""
    from celesta.client import Client

    pairs = [tuple(text.split(":")) for text in aliases]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError([Problem("--alias", "wants a model and its alias: --alias digits:production")])
    with Client.from_env(project) as client:
        done = client.rollback(name, to, [(pair[0], pair[1]) for pair in pairs])
    if as_json:
        return print_json(done)
    put(f"Version {done['version'][:12]} of {name} is the active one again, instead of {done['left'][:12]}.")
    if done["schedules"]:
        put(f"Schedules that launch it from now on: {', '.join(done['schedules'])}.")
    for move in done["aliases"]:
        state = "waits for an owner" if move["state"] == "pending" else "rolled back"
        put(f"{move['alias']} of {move['model']}, from version {move['from']} to {move['to']}: {state}.")
    put(f"See what that changed with `celesta workflows diff {name}@{done['left'][:12]}`.")


def commit(version: Document) -> str:
    git = version["git"]
    return f"{git['commit'][:10]}{' (changed)' if git['dirty'] else ''}" if git else ""


def recorded(version: Document) -> Iterable[tuple[str, object]]:
    """What was recorded with a version, for `show`."""
    environment = version["environment"] or {}
    lock = environment.get("lock")
    yield "commit", commit(version)
    yield "python", environment.get("python")
    yield "packages", f"{environment['packages']} locked as {lock[:12]}" if lock else None
    yield "images", ", ".join(environment.get("images") or ())


def named(workflow: str, command: str) -> tuple[str, str]:
    """The name and the version of `NAME@VERSION`, both of which the command wants."""
    from celesta.cli.launch import split_version

    name, version = split_version(workflow)
    if version is None:
        raise click.UsageError(f"say which version: celesta workflows {command} {name}@VERSION")
    return name, version


def lines_of(document: Document) -> Iterable[str]:
    """A diff of two versions as lines of text: the parts in their order, the code last."""
    for part in ("interface", "steps", "outputs", "tasks", "environment"):
        if document[part]:
            yield f"{part}:"
            for change in document[part]:
                yield from _change(change)
    if document["left_out"]:
        yield f"{document['left_out']} more tasks and steps differ."
    for file in document["code"]:
        yield from ("", file["diff"] or f"{file['file']}: {file['change']}")


def _change(change: Document) -> Iterable[str]:
    if "change" not in change:
        yield f"  {_field(change)}"
        return
    side = f"{change['side']} " if "side" in change else ""
    yield f"  {change['change']}: {side}{change['name']}"
    for field in change["fields"]:
        yield f"    {_field(field)}"


def _field(field: Document) -> str:
    return f"{field['field']}: {_plain(field['from'])} -> {_plain(field['to'])}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value, ensure_ascii=False)
