"""`celesta demo`: a real pipeline, twice, on a stack of its own when none runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from celesta.cli.output import json_option, print_json, put, say, seconds, short, table
from celesta.errors import NotFoundError, RunFailed, ServerUnreachable
from celesta.settings import Settings

EXAMPLE, WORKFLOW = Path("examples") / "digits.py", "digits"


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Stop everything at the end, also on a terminal.")
@json_option
def demo(leave: bool, as_json: bool) -> None:
    """Run a real pipeline twice and see the cache at work.

    It trains classifiers of handwritten digits. On a terminal the dashboard stays up until Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    example = find_example()
    with a_stack() as (url, own):
        runs = run_twice(example)
        if as_json:
            from celesta.cli.result import summary

            print_json({"runs": [summary(run) for run in runs]})
        else:
            show(runs)
        failed = [run for run in runs if run["status"] != "succeeded"]
        if failed:
            from celesta.cli.result import failure

            raise RunFailed(failure(failed[0]), failed[0])
        if own and not leave and not as_json and sys.stdout.isatty():
            put(f"\nThe dashboard is at {url} until you press Ctrl-C.")
            with suppress(KeyboardInterrupt):
                signal.pause()


def find_example() -> Path:
    """The example, in the checkout that this package is in, or in the current folder."""
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (root / EXAMPLE).is_file():
            return root / EXAMPLE
    raise NotFoundError(f"there is no {EXAMPLE} here; run the demo from a checkout of Celesta")


@contextmanager
def a_stack() -> Iterator[tuple[str, bool]]:
    """Address of the stack that runs, or of one that lives as long as the block; and whether it is our own."""
    from celesta.cli.stack import start_detached, stop

    settings = Settings.from_env()
    with suppress(ServerUnreachable):
        yield settings.server_url(), False
        return
    say("Starting a stack …")
    url = start_detached(0, None)["url"]
    try:
        yield url, True
    finally:
        say("Stopping the stack …")
        with suppress(ServerUnreachable):
            stop(settings.home)


def run_twice(example: Path) -> list[dict[str, Any]]:
    from celesta.cli.progress import announce, follow
    from celesta.cli.source import spec_of
    from celesta.client import Client

    spec, blobs = spec_of(example, WORKFLOW)
    runs = []
    with Client.from_env() as client:
        version = client.register(spec, blobs)["version"]
        for _ in range(2):
            run = client.launch(WORKFLOW, version=version)
            announce(run)
            runs.append(follow(client, run["run_id"]))
    return runs


def show(runs: list[dict[str, Any]]) -> None:
    put()
    table(
        ["run", "status", "steps", "cached", "time", "page"],
        [
            (
                run["run_id"],
                run["status"],
                run["steps"]["total"],
                run["steps"]["cached"],
                seconds(run["duration_seconds"]),
                run["url"],
            )
            for run in runs
        ],
        empty="",
    )
    put()
    outputs = {name: [(run["outputs"] or {}).get(name) for run in runs] for name in runs[0]["outputs"] or {}}
    rows = [(name, *(short(value, 40) for value in values)) for name, values in outputs.items()]
    table(["output", "first run", "second run"], rows, empty="")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
