"""`celesta runs`: what ran, how it went, what it printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import rich_click as click

from celesta.cli.output import (
    ago,
    counts_text,
    fields,
    json_option,
    limit_option,
    listing,
    print_json,
    project_option,
    put,
    say,
    seconds,
    short,
    table,
)
from celesta.cli.runs_again import recover, rerun
from celesta.cli.runs_archived import export, import_
from celesta.cli.runs_compared import compare, diff, environment, reproduce
from celesta.cli.terminal import Log
from celesta.errors import InputError, Problem, RunFailed

if TYPE_CHECKING:
    from celesta.client import Client

SHOWN_STEPS = 200
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


@click.group()
def runs() -> None:
    """List, show, watch, answer, control, repeat and compare runs."""


for command in (recover, rerun, diff, compare, environment, reproduce, export, import_):
    runs.add_command(command)


@runs.command("list")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@limit_option
@project_option
@json_option
def list_runs(workflow: str | None, status: str | None, limit: int, project: str | None, as_json: bool) -> None:
    """List runs, the newest first."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        found = list(client.runs(workflow=workflow, status=status, limit=limit))
    listing(
        found,
        as_json,
        ["run", "workflow", "status", "steps", "cached", "duration", "started"],
        lambda run: (
            run["run_id"],
            run["workflow"],
            run["status"],
            run["steps"]["total"],
            run["steps"]["cached"],
            seconds(run["duration_seconds"]),
            ago(run["created_at"]),
        ),
        empty="No runs. Start one with `celesta run FILE WORKFLOW`.",
    )


@runs.command()
@click.argument("run")
@click.option("--all", "show_all", is_flag=True, help=f"Show every step, not the first {SHOWN_STEPS:,}.")
@project_option
@json_option
def show(run: str, show_all: bool, project: str | None, as_json: bool) -> None:
    """Show a run with its steps; with --json, with all of them."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.run(run)
        steps = list(client.steps(run, limit=None if show_all or as_json else SHOWN_STEPS))
    if as_json:
        return print_json(document | {"step_list": steps})
    fields(
        [
            ("run", document["run_id"]),
            ("workflow", f"{document['workflow']}@{document['version'][:12]}"),
            ("status", document["status"]),
            ("steps", counts_text(document["steps"])),
            ("duration", seconds(document["duration_seconds"])),
            ("created", f"{ago(document['created_at'])} by {document['created_by']}"),
            *((f"in  {name}", short(value)) for name, value in document["inputs"].items()),
            *((f"out {name}", short(value)) for name, value in (document["outputs"] or {}).items()),
            ("error", error_text(document["error"])),
            ("paused", ago(document["paused_at"]) if document["status"] == "running" else None),
            *((f"  its {name}", one["preview"]) for name, one in _inputs_of(document["error"]).items()),
            ("url", document["url"]),
        ]
    )
    put()
    table(["step", "state", "attempt", "duration", "waits for"], [_row(step) for step in steps], empty="No steps yet.")
    if not show_all and len(steps) == SHOWN_STEPS and (more := document["steps"]["total"] - len(steps)) > 0:
        say(f"… and {more:,} more; --all shows them.")


def _row(step: dict[str, Any]) -> tuple[object, ...]:
    why = (step.get("waiting_for") or {}).get("text", "")
    return step["path"], step["state"], step["attempt"] or "", seconds(step["duration_seconds"]), why


@runs.command()
@click.argument("run")
@project_option
@json_option
def watch(run: str, project: str | None, as_json: bool) -> None:
    """Follow a run until it ends. Exits 0 only when it succeeded."""
    from celesta.cli.progress import follow
    from celesta.cli.result import finish
    from celesta.client import Client

    with Client.from_env(project) as client:
        client.run(run)
        finish(follow(client, run), as_json)


@runs.command()
@click.argument("run")
@click.option("--step", metavar="PATH", help="Only this step, such as train or 'train[3]'.")
@click.option("--follow", is_flag=True, help="Stay until the step ends, and print what comes.")
@click.option("--raw", is_flag=True, help="Print the bytes as they are, with all their control characters.")
@project_option
@json_option
def logs(run: str, step: str | None, follow: bool, raw: bool, project: str | None, as_json: bool) -> None:
    """Print what the steps of a run have printed. Colours stay; what else would steer the terminal does not."""
    from celesta.client import Client

    refuse_together(step, follow, raw, as_json)
    with Client.from_env(project) as client:
        if step and follow:
            return follow_log(client, run, step)
        paths = [step] if step else [one["path"] for one in client.steps(run) if one["log_bytes"]]
        if as_json:
            texts = [b"".join(client.log(run, path)).decode(errors="replace") for path in paths]
            logs = [{"path": path, "text": text} for path, text in zip(paths, texts, strict=True)]
            return print_json({"run_id": run, "logs": logs})
        for path in paths:
            if not step:
                say(f"--- {path}")
            show_log(client.log(run, path), raw)


def refuse_together(step: str | None, follow: bool, raw: bool, as_json: bool) -> None:
    """Options of `logs` that do not go together."""
    problems = []
    if follow and not step:
        problems.append(Problem("--follow", "needs the step to follow: --step PATH"))
    for option, given in (("--raw", raw), ("--json", as_json)):
        if follow and given:
            problems.append(Problem(option, "does not go with --follow, which prints text as it comes"))
    if raw and as_json:
        problems.append(Problem("--raw", "does not go with --json, which spells control characters out"))
    if problems:
        raise InputError(problems)


def show_log(pieces: Iterable[bytes], raw: bool) -> None:
    """Write a log to stdout, as it is or as a terminal may have it."""
    shown = Log()
    for piece in pieces:
        sys.stdout.buffer.write(piece if raw else shown.feed(piece).encode(errors="replace"))
    sys.stdout.buffer.write(b"" if raw else shown.feed(b"", final=True).encode(errors="replace"))
    sys.stdout.buffer.flush()


def follow_log(client: Client, run: str, step: str) -> None:
    """Write a step's log as it comes. A log that begins anew begins on a line of its own, after a word on stderr."""
    shown = Log()
    for text, anew in client.follow_log(run, step):
        if anew:
            shown = Log()
            say(f"\n--- the log of {step} from its beginning")
        sys.stdout.write(shown.feed(text))
        sys.stdout.flush()
    sys.stdout.write(shown.feed("", final=True))
    sys.stdout.flush()


@runs.command()
@click.argument("run")
@project_option
@json_option
def cancel(run: str, project: str | None, as_json: bool) -> None:
    """Cancel a run: running steps are ended, the others do not start."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.cancel(run)
    if as_json:
        print_json(document)
    if document["status"] in ("succeeded", "failed"):
        raise RunFailed(f"run {run} has ended already ({document['status']}); there is nothing to cancel", document)
    if as_json:
        return
    if document["status"] == "cancelled":
        return put(f"Run {run} is cancelled.")
    put(f"Cancelling {run}. See how it ends with `celesta runs watch {run}`.")


@runs.command()
@click.argument("run")
@project_option
@json_option
def pause(run: str, project: str | None, as_json: bool) -> None:
    """Pause a run: no further step starts, those that run go on to their end."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.pause(run)
    if as_json:
        return print_json(document)
    put(f"Run {run} is paused. Let it go on with `celesta runs resume {run}`.")


@runs.command()
@click.argument("run")
@click.argument("step", required=False)
@click.option("--no", "refuse", is_flag=True, help="Say no.")
@click.option("--note", default="", help="Why; it is kept with the answer.")
@project_option
@json_option
def approve(run: str, step: str | None, refuse: bool, note: str, project: str | None, as_json: bool) -> None:
    """Say yes (or no) to a step that asks for it. STEP may be left out when only one does."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.answer(run, step or _only_approval(client, run), not refuse, note)
    if as_json:
        return print_json(document)
    put(f"{'Refused' if refuse else 'Approved'} {document['step']} of run {run}.")


@runs.command()
@click.argument("run")
@project_option
@json_option
def resume(run: str, project: str | None, as_json: bool) -> None:
    """Let a paused run go on."""
    from celesta.client import Client

    with Client.from_env(project) as client:
        document = client.resume(run)
    if as_json:
        return print_json(document)
    put(f"Run {run} goes on. See how it ends with `celesta runs watch {run}`.")


@runs.command()
@click.argument("run")
@click.argument("step", metavar="NAME")
@click.option("--value", required=True, metavar="JSON", help="The value; what is no JSON, or given for a str, is text.")
@click.option("--note", default="", help="Kept with the answer.")
@project_option
@json_option
def answer(run: str, step: str, value: str, note: str, project: str | None, as_json: bool) -> None:
    """Give a step the value that it waits for."""
    from celesta.answers import plain_of
    from celesta.client import Client

    with Client.from_env(project) as client:
        asked = client.step(run, step)["parked"] or {}
        document = client.answer(run, step, plain_of(value, asked.get("type")), note)
        paused = client.run(run)["paused_at"]
    if as_json:
        return print_json(document)
    later = f"; the run is paused: let it go on with `celesta runs resume {run}`" if paused else ""
    put(f"{document['step']} of run {run} {'has' if paused else 'goes on with'} {short(document['value'])}{later}.")


def _only_approval(client: Client, run: str) -> str:
    """The step that asks; where none does any more the one that was answered, of which the server says by whom."""
    paths: list[str] = [
        one["path"] for one in client.steps(run, state="parked") if one["parked"]["waits_for"] == "approve"
    ]
    told = f"there are several: {', '.join(paths)}"
    if not paths:
        paths = [one["path"] for one in client.steps(run, limit=SHOWN_STEPS) if one["answer"]]
        told = f"all were answered: {', '.join(paths)}" if paths else f"none of run {run} waits for approval"
    if len(paths) == 1:
        return paths[0]
    raise InputError([Problem("STEP", f"name the step to approve; {told}")])


def _inputs_of(error: dict[str, Any] | None) -> dict[str, Any]:
    """What the step that failed first was given."""
    inputs: dict[str, Any] = (error or {}).get("inputs") or {}
    return inputs


def error_text(error: dict[str, Any] | None) -> str:
    if not error:
        return ""
    return f"{error['path'] + ': ' if error.get('path') else ''}{error['type']}: {error['message']}"
