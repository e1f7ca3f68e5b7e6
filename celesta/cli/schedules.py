"""`celesta schedules`: workflows that run by the clock."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from celesta.cli.output import ago, json_option, limit_option, listing, print_json, project_option, put
from celesta.errors import InputError, Problem


@click.group()
def schedules() -> None:
    """Run workflows by the clock."""


@schedules.command("list")
@limit_option
@project_option
@json_option
def list_schedules(limit: int, project: str | None, as_json: bool) -> None:
    """List schedules."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.schedules(limit))
    listing(
        found,
        as_json,
        ["schedule", "workflow", "cron", "timezone", "last fired"],
        lambda s: (s["name"], s["workflow"], s["cron"], s["timezone"], ago(s["last_fire_at"])),
        empty="No schedules. Make one with `celesta schedules create NAME WORKFLOW --cron '0 6 * * *'`.",
    )


@schedules.command()
@click.argument("name")
@click.argument("workflow", metavar="WORKFLOW[@VERSION]")
@click.option("--cron", required=True, metavar="'M H D M W'", help="Five fields, as in `0 6 * * 1-5`.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input; may be repeated.")
@project_option
@json_option
def create(
    name: str, workflow: str, cron: str, timezone: str, inputs: tuple[str, ...], project: str | None, as_json: bool
) -> None:
    """Run a registered workflow at these moments. Without @VERSION each fire takes the active version."""
    from celesta.cli.inputs import collect_given
    from celesta.cli.launch import interface_of, split_version
    from celesta.client import Client

    workflow_name, version = split_version(workflow)
    with Client.from_env(project) as client:
        interface = interface_of(client, workflow_name, version)
        values = collect_given(interface, inputs)
        refuse_files(values)
        document: dict[str, Any] = {"name": name, "workflow": workflow_name, "cron": cron, "timezone": timezone}
        document |= {"inputs": values} | ({"version": version} if version else {})
        made = client.create_schedule(document)
    if as_json:
        return print_json(made)
    put(f"Schedule {name} runs {workflow} at '{cron}' ({timezone}).")


@schedules.command()
@click.argument("name")
@project_option
@json_option
def delete(name: str, project: str | None, as_json: bool) -> None:
    """Delete a schedule. Its runs stay."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.delete_schedule(name)
    if as_json:
        return print_json({"name": name, "deleted": True})
    put(f"Deleted {name}.")


def refuse_files(values: dict[str, Any]) -> None:
    """A schedule keeps plain inputs."""
    for name, value in values.items():
        try:
            json.dumps(value)
        except TypeError:
            raise InputError([Problem(name, "a schedule cannot take a file; let a task read it")]) from None
