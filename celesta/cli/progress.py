"""How a run is followed: a live bar on a terminal, a line per finished step elsewhere; always on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from celesta.cli.output import say
from celesta.cli.terminal import harmless

if TYPE_CHECKING:
    from celesta.client import Client

SETTLED = "step.settled"
GOOD = ("succeeded", "cached")
SHOWN_STEPS = 4


def follow(client: Client, run_id: str) -> dict[str, Any]:
    """The run's document at its end, showing steps as they come. On a pipe only the end is waited for."""
    try:
        if sys.stderr.isatty():
            _show_bar(client, run_id)
        return client.wait(run_id)
    except KeyboardInterrupt:
        say(f"\nThe run goes on. Follow it: `celesta runs watch {run_id}`; end it: `celesta runs cancel {run_id}`.")
        raise


def _show_bar(client: Client, run_id: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    state = State()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("waiting", total=None)
        for event in client.events(run_id):
            line = state.take(event)
            if line:
                progress.console.print(harmless(line), highlight=False, markup=False)
            total = max(state.known, state.settled) if state.known else None
            progress.update(bar, completed=state.settled, total=total, description=harmless(state.description))


class State:
    """What the events of a run have said so far; each may come twice."""

    def __init__(self) -> None:
        self.known: int | None = None
        self._settled: set[str] = set()
        self.running: dict[str, str] = {}

    @property
    def settled(self) -> int:
        return len(self._settled)

    @property
    def description(self) -> str:
        names = list(self.running.values())
        more = f" +{len(names) - SHOWN_STEPS}" if len(names) > SHOWN_STEPS else ""
        return (", ".join(names[:SHOWN_STEPS]) + more) or "waiting"

    def take(self, event: dict[str, Any]) -> str | None:
        """Count an event; returns a line when it is one that people want to keep."""
        kind = event["kind"]
        if kind in ("run.started", "map.opened", "dynamic.opened"):
            self.known = event.get("known") or self.known  # what was recorded does not tell it
        elif kind == "step.running":
            self.running[event["node"]] = event["path"]
        elif kind == "step.retry":
            self.running.pop(event["node"], None)
            return f"{event['path']} will be tried again ({event['reason']})"
        elif kind == SETTLED:
            self.running.pop(event["node"], None)
            first = event["node"] not in self._settled
            self._settled.add(event["node"])
            if first and event["state"] == "failed":
                return f"{event['path']} failed"
        return None


def announce(run: dict[str, Any]) -> None:
    say(f"Run {run['run_id']} of {run['workflow']}{': ' + run['url'] if run['url'] else ''}")
