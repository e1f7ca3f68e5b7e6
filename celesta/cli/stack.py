"""`celesta up`, `down` and `status`: the embedded stack of this machine.

The supervisor is a process of its own (`workers.stack`), isolated from the folder of whoever calls; this module starts
it, waits for it, and looks at its processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import rich_click as click

from celesta.cli.output import ago, json_option, print_json, put, table
from celesta.errors import InputError, Problem, ServerUnreachable, StackError
from celesta.settings import Settings, alive, running_stack, server_command, supervisor_pid

DEFAULT_PORT = 8420
STOP_SECONDS = 60.0


@click.command()
@click.option("--detach", is_flag=True, help="Return when the stack is ready, and leave it running.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes a free one."
)
@click.option("--workers", type=click.IntRange(min=1), help="Steps at a time. Default: CELESTA_SLOTS, else processors.")
@json_option
def up(detach: bool, port: int, workers: int | None, as_json: bool) -> None:
    """Start the stack on this machine: web, worker, recorder, beat and broker.

    Its state is kept in CELESTA_HOME (~/.celesta), and is there again the next time.
    """
    if as_json and not detach:
        raise InputError([Problem("--json", "goes with --detach; without it the logs are shown")])
    if not detach:
        arguments = supervisor_command(port, workers)
        os.execve(arguments[0], arguments, supervisor_environ())  # noqa: S606 - Ctrl-C reaches the supervisor itself
    started = start_detached(port, workers)
    if as_json:
        return print_json({name: started[name] for name in ("url", "pid")})
    put(f"Celesta is ready at {started['url']}")
    put("Run a workflow with `celesta run FILE WORKFLOW`; stop the stack with `celesta down`.")


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the stack, and wait until all its processes are gone."""
    home = Settings.from_env().home
    stop(home)
    if as_json:
        return print_json({"home": str(home), "stopped": True})
    put("Stopped.")


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the processes of the running stack."""
    from celesta.cli.processes import processes_of

    settings = Settings.from_env()
    stack = running_stack(settings.home)
    if stack is None:
        raise no_stack(settings.home)
    processes = processes_of(stack["pids"])
    if as_json:
        listed = [{name: process[name] for name in ("role", "pid", "started_at")} for process in processes]
        return print_json({"url": stack["url"], "processes": listed})
    put(f"Celesta runs at {stack['url']}, started {ago(stack['started_at'])}\n")
    table(
        ["role", "pid", "started", "memory"],
        [(p["role"], str(p["pid"]), ago(p["started_at"]), f"{p['memory_bytes'] / 1e6:.0f} MB") for p in processes],
        empty="",
    )


def supervisor_command(port: int, workers: int | None, *more: str) -> list[str]:
    slots = ("--workers", str(workers)) if workers else ()
    return server_command("workers.stack", "--port", str(port), *slots, *more)


def supervisor_environ() -> dict[str, str]:
    """Few arenas: a role has many threads and little to allocate, and each arena keeps memory of its own."""
    return {"MALLOC_ARENA_MAX": "2"} | os.environ


def start_detached(port: int, workers: int | None) -> dict[str, Any]:
    """Start the stack in the background; returns `url` and `pid` when it is ready, raises `StackError`."""
    with subprocess.Popen(
        supervisor_command(port, workers, "--detach"),
        env=supervisor_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as supervisor:
        line = supervisor.stdout.readline() if supervisor.stdout else ""
        if not line:
            raise StackError(f"the stack ended while it started (status {supervisor.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise StackError(answer["error"])
        supervisor.returncode = 0  # it lives on; nobody waits for it here
    return answer


def stop(home: Path) -> None:
    """End the stack of a home; raises `ServerUnreachable` when none runs."""
    pid = supervisor_pid(home)
    if pid is None:
        raise no_stack(home)
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ProcessLookupError):  # killed a moment ago; its processes follow it
        os.kill(pid, signal.SIGTERM)
    while supervisor_pid(home) == pid or alive(pid):
        if time.monotonic() > deadline:
            raise StackError(f"the stack (process {pid}) did not end within {STOP_SECONDS:g} s; see {home / 'logs'}")
        time.sleep(0.02)


def no_stack(home: Path) -> ServerUnreachable:
    return ServerUnreachable(f"no Celesta stack runs in {home}. Start one with `celesta up`.")
