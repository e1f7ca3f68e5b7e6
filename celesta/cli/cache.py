"""`celesta cache`: what was not computed again, why a step was, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import rich_click as click

from celesta.cli.output import fields, json_option, print_json, project_option, put, seconds, size, table
from celesta.errors import InputError, Problem
from celesta.units import parse_bytes, parse_seconds

Document = dict[str, Any]


def _age(text: str) -> float | None:
    """Seconds of what is typed, with a unit or as a number of them."""
    return parse_seconds(f"{text}s" if text.isdecimal() else text)


TYPED: dict[str, tuple[Any, str]] = {
    "--older-than": (_age, "30d"),
    "--larger-than": (parse_bytes, "100M"),
    "SIZE": (parse_bytes, "10G, or none"),
}
"""How what is typed is read, and an example of it."""


@click.group()
def cache() -> None:
    """See what the cache saved, ask why a step was computed, and keep or evict entries."""


@cache.command()
@project_option
@json_option
def stats(project: str | None, as_json: bool) -> None:
    """Show entries, hits and misses, and the time saved, in all and by task."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.cache_stats()
    if as_json:
        return print_json(document)
    limit = f" of {size(document['limit_bytes'])}" if document["limit_bytes"] is not None else ""
    fields(
        [
            ("entries", f"{document['entries']}{f', {pinned} pinned' if (pinned := document['pinned']) else ''}"),
            ("hits", f"{document['hits']} of {document['hits'] + document['misses']}"),
            ("hit rate", _rate(document["hit_rate"])),
            ("stored", f"{size(document['bytes'])}{limit}"),
            ("time saved", seconds(document["seconds_saved"])),
        ]
    )
    if document["tasks"]:
        put()
        table(
            ["task", "entries", "stored", "hits", "misses", "hit rate", "time saved"],
            [
                (
                    one["task"],
                    one["entries"],
                    size(one["bytes"]),
                    one["hits"],
                    one["misses"],
                    _rate(one["hit_rate"]),
                    seconds(one["seconds_saved"]),
                )
                for one in document["tasks"]
            ],
            empty="",
        )


@cache.command()
@click.argument("run")
@click.argument("step")
@project_option
@json_option
def explain(run: str, step: str, project: str | None, as_json: bool) -> None:
    """Say why a step was answered from the cache or was not, and what differs from the nearest earlier result.

    Also of a run that was made here with `celesta run --local`.
    """
    document = _explained(run, step, project)
    if as_json:
        return print_json(document)
    put(f"{document['path']}: {document['verdict']}. {document['reason']}")
    for line in lines_of(document["nearest"] or {"differences": []}):
        put(line)


@cache.command()
@click.option("--task", metavar="NAME", help="Results of this task.")
@click.option("--run", "run_id", metavar="RUN", help="Results that this run computed.")
@click.option("--older-than", metavar="AGE", help="Results computed longer ago than this, such as 30d.")
@click.option("--larger-than", metavar="SIZE", help="Results of more bytes than this, such as 100M.")
@click.option("--all", "everything", is_flag=True, help="All results of the project.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--local", is_flag=True, help="Of the cache of `celesta run --local`, in CELESTA_HOME.")
@project_option
@json_option
def evict(
    task: str | None,
    run_id: str | None,
    older_than: str | None,
    larger_than: str | None,
    everything: bool,
    dry_run: bool,
    local: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Take results out of the cache: those that fit all that is said. Pinned ones stay.

    Steps that need them compute again. Artifacts of runs stay where they are.
    """
    seconds, least_bytes = _parsed({"--older-than": older_than, "--larger-than": larger_than})
    wanted = {
        "task": task,
        "run": run_id,
        "older_than_seconds": seconds,
        "larger_than_bytes": least_bytes,
        "all": everything,
    }
    done = _evicted(wanted, dry_run, local, project)
    if as_json:
        return print_json(done)
    rows = [(one["task"], one["entries"], size(one["bytes"])) for one in done["tasks"]]
    table(["task", "entries", "stored"], rows, empty="No entry fits.")
    pinned = f" Pinned, and kept: {done['pinned']}." if done["pinned"] else ""
    put(f"{'Would evict' if dry_run else 'Evicted'} {done['entries']} entries, {size(done['bytes'])}.{pinned}")


@cache.command()
@click.argument("run")
@click.argument("step")
@project_option
@json_option
def pin(run: str, step: str, project: str | None, as_json: bool) -> None:
    """Keep the result of a step in the cache, whatever is evicted."""
    _pin(run, step, project, as_json, pinned=True)


@cache.command()
@click.argument("run")
@click.argument("step")
@project_option
@json_option
def unpin(run: str, step: str, project: str | None, as_json: bool) -> None:
    """Let the result of a step be evicted again."""
    _pin(run, step, project, as_json, pinned=False)


@cache.command()
@click.argument("size_", metavar="SIZE|none")
@project_option
@json_option
def limit(size_: str, project: str | None, as_json: bool) -> None:
    """Set how much the results in the cache may hold, such as 10G. Those used least recently are evicted above it."""
    from celesta.client import Client

    (limit_bytes,) = _parsed({"SIZE": None if size_ == "none" else size_})
    with Client.from_env(project) as client:
        document = client.limit_cache(limit_bytes)
    if as_json:
        return print_json(document)
    told = "There is no limit." if limit_bytes is None else f"The limit is {size(limit_bytes)}."
    put(f"{told} Stored now: {size(document['bytes'])}.")


def _explained(run: str, step: str, project: str | None) -> Document:
    from celesta.local import explain
    from celesta.settings import Settings

    home = Settings.from_env().home
    if explain.has_run(home, run):
        return explain.explain(home, run, step)
    from celesta.client import Client

    with Client.from_env(project) as client:
        return client.explain_cache(run, step)


def _evicted(wanted: Document, dry_run: bool, local: bool, project: str | None) -> Document:
    if local:
        from celesta.local import explain
        from celesta.settings import Settings

        return explain.evict(Settings.from_env().home, wanted, dry_run=dry_run)
    from celesta.client import Client

    with Client.from_env(project) as client:
        return client.evict_cache(**wanted, dry_run=dry_run)


def lines_of(nearest: Document) -> Iterator[str]:
    """The differences from the nearest entry as lines of text."""
    for change in nearest["differences"]:
        if change["component"] == "input":
            yield f"  input {change['name']}: {_value(change['from'])} -> {_value(change['to'])}"
        elif change["component"] == "env":
            yield f"  variable {change['name']}: {change['from']} -> {change['to']}"
        else:
            yield f"  {change['component']}: {_short(change['from'])} -> {_short(change['to'])}"
        for one in change.get("changes", ()):
            if change["component"] == "interface":
                yield f"    {one['change']}: {one['side']} {one['name']}"
            elif one["name"] != "environment":  # that is the digests again
                yield f"    {one['name']}: {one['before'] or 'none'} -> {one['after'] or 'none'}"
        yield from _code(change)


def _code(change: Document) -> Iterator[str]:
    """The function's own text when that differs, else the files that it may have reached."""
    diffs = [change["diff"]] if change.get("diff") else [file["diff"] for file in change.get("files", ())]
    for diff in filter(None, diffs):
        yield from ("", diff)


def _value(value: Document | None) -> str:
    if value is None:
        return "none"
    shown = value["preview"] if value["preview"] is not None else value["type"]
    return f"{shown} ({value['digest'][:12]})"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f'version "{value.get("version")}"'
    return str(value)[:12] if value is not None else "none"


def _pin(run: str, step: str, project: str | None, as_json: bool, *, pinned: bool) -> None:
    from celesta.client import Client

    with Client.from_env(project) as client:
        entry = client.pin_cache(run, step, pinned)
    if as_json:
        return print_json(entry)
    put(f"The result of {entry['task']} by {entry['path']} of run {entry['run']} is {'pinned' if pinned else 'free'}.")


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _parsed(texts: Mapping[str, str | None]) -> list[Any]:
    """What was typed, in its order; what was not is None. Raises `InputError` with every problem."""
    found, problems = [], []
    for name, text in texts.items():
        parse, example = TYPED[name]
        read = None if text is None else parse(text)
        if text is not None and read is None:
            problems.append(Problem(name, f"{text!r} is not understood; write for example {example}"))
        found.append(read)
    if problems:
        raise InputError(problems)
    return found
