"""How a run's end is told: the summary on stdout, the first failure on stderr, the exit status."""

from __future__ import annotations

from typing import Any

from celesta.cli.output import counts_text, print_json, put, say, seconds, short
from celesta.client.launching import failure as first_failure
from celesta.errors import RunFailed

KEYS = ("run_id", "status", "outputs", "steps", "duration_seconds", "url")


def summary(run: dict[str, Any]) -> dict[str, Any]:
    """What `run --wait --json` prints, exactly."""
    return {key: run[key] for key in KEYS}


def finish(run: dict[str, Any], as_json: bool) -> None:
    """Print the end of a run; raises `RunFailed` when it did not succeed."""
    if as_json:
        print_json(summary(run))
    else:
        _print(run)
    if run["status"] != "succeeded":
        raise RunFailed(failure(run), run)


def _print(run: dict[str, Any]) -> None:
    say()
    put(f"Run {run['run_id']} {run['status']} in {seconds(run['duration_seconds'])}; {counts_text(run['steps'])}")
    outputs = run["outputs"] or {}
    width = max(map(len, outputs), default=0)
    for name, value in outputs.items():
        put(f"  {name:<{width}}  {short(value, 100)}")
    if run["url"]:
        put(f"  {run['url']}")


def tell_traceback(error: dict[str, Any] | None) -> None:
    """Where a step failed in the user's code, when that is known."""
    trace = (error or {}).get("traceback") or ""
    if '  File "' in trace:
        say(trace.rstrip())


def failure(run: dict[str, Any]) -> str:
    """What failed first, and where its log is, if it has one."""
    error = run.get("error") or {}
    path = error.get("path") if error.get("log_bytes") != 0 else None  # a sleep, or a step that could not begin
    log = run.get("log", f"`celesta runs logs {run['run_id']} --step '{path}'`")  # of a local run empty without a log
    return first_failure(run) + (f"\nIts log: {log}" if path and log else "")
