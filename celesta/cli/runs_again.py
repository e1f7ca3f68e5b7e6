"""`celesta runs recover | rerun`: a run once more, with what an earlier one came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from celesta.cli.launch import parallel_option, priority_option
from celesta.cli.output import json_option, print_json, project_option, put, table

if TYPE_CHECKING:
    from celesta.client import Client

Document = dict[str, Any]
wait_option = click.option("--wait/--no-wait", default=True, help="Wait for the end, or return once it is launched.")
dry_option = click.option("--dry-run", is_flag=True, help="Only show what would run and what would be taken over.")


@click.command()
@click.argument("run")
@priority_option
@parallel_option
@dry_option
@wait_option
@project_option
@json_option
def recover(
    run: str,
    priority: int | None,
    max_parallel: int | None,
    dry_run: bool,
    wait: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Go on where a run failed, in a new run: what succeeded is taken over, even when it is not cached.

    Of a map only the items that did not succeed run again. Options of the earlier run stay where none are given.
    """
    from celesta.client import Client

    with Client.from_env(project) as client:
        options = _given(priority=priority, max_parallel=max_parallel)
        _tell(client, client.recover(run, options=options, dry_run=dry_run), dry_run, wait, as_json)


@click.command()
@click.argument("run")
@click.option(
    "--from", "steps", multiple=True, metavar="PATH", help="Run anew this step, or workflow inside, and all below it."
)
@click.option("--input", "pairs", multiple=True, metavar="NAME=VALUE", help="Another value for an input.")
@click.option("--no-cache", is_flag=True, help="Look nothing up in the cache, and keep nothing for later.")
@click.option("--refresh", is_flag=True, help="Look nothing up in the cache, and keep the new results.")
@priority_option
@parallel_option
@dry_option
@wait_option
@project_option
@json_option
def rerun(
    run: str,
    steps: tuple[str, ...],
    pairs: tuple[str, ...],
    no_cache: bool,
    refresh: bool,
    priority: int | None,
    max_parallel: int | None,
    dry_run: bool,
    wait: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Run the same version again: whole, from chosen steps (--from), or with other inputs (--input).

    With --from or --input, what these do not affect is taken over from the earlier run. Options of the earlier run stay
    where none are given.
    """
    from celesta.client import Client

    with Client.from_env(project) as client:
        inputs, refs = _changes(client, run, pairs)
        options = _given(
            no_cache=no_cache or None, refresh=refresh or None, priority=priority, max_parallel=max_parallel
        )
        answer = client.rerun(run, inputs, refs, steps=list(steps), options=options, dry_run=dry_run)
        _tell(client, answer, dry_run, wait, as_json)


def _given(**options: bool | int | None) -> Document:
    return {name: value for name, value in options.items() if value is not None}


def _changes(client: Client, run: str, pairs: tuple[str, ...]) -> tuple[Document, Document]:
    """The values of `--input`, by the interface of the run's version; files are uploaded."""
    if not pairs:
        return {}, {}
    from celesta.cli.inputs import collect_given
    from celesta.cli.values import split
    from celesta.client.blobs import ServerBlobs

    document = client.run(run)
    interface = client.version(document["workflow"], document["version"])["interface"]
    return split(collect_given(interface, pairs), interface, ServerBlobs(client))


def _tell(client: Client, answer: Document, dry_run: bool, wait: bool, as_json: bool) -> None:
    from celesta.cli.launch import tell

    if not dry_run:
        return tell(client, answer, wait, as_json)
    if as_json:
        return print_json(answer)
    rows = [(step["path"], *_numbers(step), step["why"]) for step in answer["steps"]]
    table(["step", "runs", "taken over", "why"], rows, empty="No steps.")
    runs, taken_over = _numbers(answer)
    put(f"\n{runs} would run, {taken_over} would be taken over from {answer['run_id']}.")


def _numbers(counted: Document) -> tuple[str, str]:
    """How many run and how many are taken over: where that is not known, after what the earlier run came to."""
    most = "" if counted["exact"] or not counted["reuse"] else "at most "
    return f"{'' if counted['exact'] else 'about '}{counted['run']}", f"{most}{counted['reuse']}"
