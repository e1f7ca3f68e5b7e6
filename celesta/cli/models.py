"""`celesta models`: named series of artifacts, and aliases such as `production` that point to one of them."""

from __future__ import annotations

from typing import Any

import rich_click as click

from celesta.cli.output import (
    ago,
    json_option,
    limit_option,
    listing,
    print_json,
    project_option,
    put,
    short,
    size,
    table,
)
from celesta.errors import InputError, Problem

Document = dict[str, Any]


@click.group()
def models() -> None:
    """Register models, and move the aliases that point to their versions."""


@models.command("list")
@limit_option
@project_option
@json_option
def list_models(limit: int, project: str | None, as_json: bool) -> None:
    """List models by name."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.models(limit))
    listing(
        found,
        as_json,
        ["model", "newest", "aliases", "made", "by"],
        lambda m: (m["name"], m["versions"], _aliases(m["aliases"]), ago(m["created_at"]), m["created_by"]),
        empty="No models. Register an output of a run: `celesta models register NAME --run RUN`.",
    )


@models.command()
@click.argument("name")
@limit_option
@project_option
@json_option
def show(name: str, limit: int, project: str | None, as_json: bool) -> None:
    """Show a model: its versions, where its aliases point, and what waits for approval."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.model(name)
        versions = list(client.model_versions(name, limit))
    if as_json:
        return print_json(document | {"version_list": versions})
    columns = ["version", "aliases", "metrics", "size", "artifact", "run", "registered", "by", "notes"]
    table(columns, map(_version, versions), empty="")
    for move in document["pending"]:
        put()
        _put_move(name, move)


def _version(version: Document) -> tuple[object, ...]:
    return (
        version["number"],
        ", ".join(version["aliases"]),
        _metrics(version["metrics"]),
        size(version["size"]),
        str(version["artifact"] or ""),
        version["run_id"],
        ago(version["created_at"]),
        version["created_by"],
        short(version["notes"], 40),
    )


@models.command()
@click.argument("name")
@click.argument("artifact", type=int, required=False)
@click.option("--run", metavar="RUN", help="Take an output of this run instead of an artifact.")
@click.option("--output", metavar="OUTPUT", help="Which output of the run. Default: its only file.")
@click.option("--notes", default="", help="What to know of this version.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=NUMBER", help="A metric beside those of the run.")
@project_option
@json_option
def register(
    name: str,
    artifact: int | None,
    run: str | None,
    output: str | None,
    notes: str,
    metrics: tuple[str, ...],
    project: str | None,
    as_json: bool,
) -> None:
    """Register an artifact as the next version of a model; a new name makes a new model."""
    from celesta.client import Client

    numbers = _numbers(metrics)
    with Client.from_env(project) as client:
        version = client.register_model(name, artifact=artifact, run=run, output=output, notes=notes, metrics=numbers)
    if as_json:
        return print_json(version)
    put(f"Version {version['number']} of {name} is {version['output']} of {version['path']}, run {version['run_id']}.")
    put(f"Point an alias to it with `celesta models alias {name} production {version['number']}`.")


@models.command()
@click.argument("name")
@click.argument("alias")
@click.argument("version")
@click.option("--note", default="", help="Why.")
@project_option
@json_option
def alias(name: str, alias: str, version: str, note: str, project: str | None, as_json: bool) -> None:
    """Point an alias to a version: its number, or another alias."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        move = client.move_alias(name, alias, version, note)
    print_json(move) if as_json else _put_move(name, move)


@models.command()
@click.argument("name")
@click.argument("alias")
@project_option
@json_option
def rollback(name: str, alias: str, project: str | None, as_json: bool) -> None:
    """Point an alias to the version before, and show how the metrics differ. Again goes back further."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        move = client.roll_back_alias(name, alias)
    print_json(move) if as_json else _put_move(name, move)


@models.command()
@click.argument("name")
@click.argument("move", type=int)
@project_option
@json_option
def approve(name: str, move: int, project: str | None, as_json: bool) -> None:
    """Approve a move of an alias that waits for an owner."""
    _decide(name, move, True, project, as_json)


@models.command()
@click.argument("name")
@click.argument("move", type=int)
@project_option
@json_option
def refuse(name: str, move: int, project: str | None, as_json: bool) -> None:
    """Refuse a move of an alias that waits for an owner."""
    _decide(name, move, False, project, as_json)


@models.command()
@click.argument("alias", required=False)
@click.option("--off", is_flag=True, help="Let it move without approval again.")
@project_option
@json_option
def guard(alias: str | None, off: bool, project: str | None, as_json: bool) -> None:
    """Have an alias move only when an owner approves, in every model of the project; without ALIAS list those."""
    from celesta.client import Client

    if off and not alias:
        raise InputError([Problem("--off", "wants the alias that shall move without approval again")])
    with Client.from_env(project) as client:
        guarded = client.guard_alias(alias, not off) if alias else client.guarded_aliases()
    if as_json:
        return print_json(guarded)
    put(f"Moves of these aliases wait for an owner: {', '.join(guarded)}." if guarded else "No alias is guarded.")


def _decide(name: str, move: int, approve: bool, project: str | None, as_json: bool) -> None:
    from celesta.client import Client

    with Client.from_env(project) as client:
        decided = client.decide_move(name, move, approve)
    print_json(decided) if as_json else _put_move(name, decided)


def _put_move(name: str, move: Document) -> None:
    """What became of a move, and how the metrics differ."""
    if not move.get("made", True):
        return put(f"{move['alias']} of {name} points to version {move['to']} already; nothing was changed.")
    begun = f"from version {move['from']} " if move["from"] else ""
    where = f"{move['alias']} of {name} {begun}to version {move['to']}"
    if move["state"] == "pending":
        put(f"{move['asked_by']} asks to move {where}{': ' + move['note'] if move['note'] else ''}.")
        put(f"An owner decides: `celesta models approve {name} {move['id']}`, or refuse.")
    elif move["state"] == "refused":
        put(f"{move['decided_by']} refused to move {where}.")
    elif move["from"] == move["to"]:
        put(f"{move['alias']} of {name} points to version {move['to']} already.")
    else:
        put(f"{'Rolled back' if move['action'] == 'rollback' else 'Moved'} {where}.")
    if move["from"]:
        rows = [(m["name"], _number(m["before"]), _number(m["after"]), _change(m["change"])) for m in move["metrics"]]
        table(["metric", "before", "after", "change"], rows, empty="")


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{name} → {number}" for name, number in aliases.items())


def _metrics(metrics: dict[str, float], most: int = 3) -> str:
    shown = [f"{name} {_number(value)}" for name, value in list(metrics.items())[:most]]
    return ", ".join(shown) + (f", {len(metrics) - most} more" if len(metrics) > most else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _change(value: float | None) -> str:
    return "" if value is None else f"{value:+.6g}"


def _numbers(pairs: tuple[str, ...]) -> dict[str, float]:
    found, problems = {}, []
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            problems.append(Problem("--metric", f"{pair!r} is no NAME=NUMBER"))
    if problems:
        raise InputError(problems)
    return found
