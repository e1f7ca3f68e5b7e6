"""How a person's side finds Celesta: `CELESTA_HOME`, `CELESTA_URL`, `CELESTA_TOKEN`, `CELESTA_PROJECT`.

The CLI, the client and the supervisor read `Settings`; server processes have `app.config` instead. Also owns the
layout of the home's `run/` folder, because that is where a client finds the embedded stack. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celesta.errors import ConfigError, Problem, ServerUnreachable, StackError

DEFAULT_PROJECT = "default"


@dataclass(frozen=True)
class Settings:
    """The environment of a client, read once."""

    home: Path
    """Folder of the embedded stack's state."""
    url: str | None = None
    """A server to talk to instead of the stack in `home`."""
    token: str | None = None
    project: str = DEFAULT_PROJECT

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Raises `ConfigError` when a variable cannot be used."""
        environ = os.environ if environ is None else environ
        url = environ.get("CELESTA_URL", "").strip().rstrip("/") or None
        if url and not _is_address(url):
            wanted = "wants the address of a server, such as http://localhost:8420"
            raise ConfigError([Problem("CELESTA_URL", f"{wanted}, not {url!r}")])
        return cls(
            home=Path(environ.get("CELESTA_HOME", "").strip() or "~/.celesta").expanduser().absolute(),
            url=url,
            token=environ.get("CELESTA_TOKEN", "").strip() or None,
            project=environ.get("CELESTA_PROJECT", "").strip() or DEFAULT_PROJECT,
        )

    def server_url(self) -> str:
        """`CELESTA_URL`, else the address of the stack that runs in `home`, else `ServerUnreachable`."""
        if self.url:
            return self.url
        stack = running_stack(self.home)
        if stack is None:
            raise ServerUnreachable(
                f"no Celesta stack runs in {self.home}. Start one with `celesta up`, "
                "or run in this process, without a server, with `celesta run … --local`."
            )
        return str(stack["url"])


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def make_home(home: Path, *folders: str) -> list[Path]:
    """Makes a home with these folders; those that were not there before. Raises `StackError` where it cannot be."""
    made: list[Path] = []
    try:
        for folder in (home, *(home / name for name in folders)):
            if not folder.is_dir():
                folder.mkdir(mode=0o700 if folder == home else 0o777, parents=True)
                made.append(folder)
        for folder in (home, *(home / name for name in folders)):
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        remove_empty(made)
        raise unusable(home, error) from error
    return made


def unusable(home: Path, error: OSError) -> StackError:
    """What to say of a home that cannot be used."""
    reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    return StackError(f"cannot use {home} as home ({reason}). Set CELESTA_HOME to a folder you can write to.")


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes what `make_home` has made, as far as nothing was put in."""
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):
            folder.rmdir()


def run_folder(home: Path) -> Path:
    """Where pidfile, `stack.json` and sockets are."""
    return home / "run"


def stack_file(home: Path) -> Path:
    """`{"url", "pids": {role: pid}, "started_at"}`, written when the stack is ready and removed when it ends."""
    return run_folder(home) / "stack.json"


def pid_file(home: Path) -> Path:
    """The supervisor's process id; the supervisor holds a lock on this file as long as it lives."""
    return run_folder(home) / "celesta.pid"


def running_stack(home: Path) -> dict[str, Any] | None:
    """What `stack.json` says while its supervisor lives; a file that a killed one left behind says nothing."""
    try:
        stack = json.loads(stack_file(home).read_text())
    except (OSError, ValueError):
        return None
    return stack if isinstance(stack, dict) and supervisor_pid(home) else None


def supervisor_pid(home: Path) -> int | None:
    """The process id of the living supervisor of this home, which may still be starting its stack."""
    try:
        with pid_file(home).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError):
        pass
    return None


def alive(pid: int) -> bool:
    """Whether a process of this id runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def server_command(module: str, *arguments: str) -> list[str]:
    """How to start a server process: isolated from the user's folder and `PYTHONPATH`.

    The import names `app` and `workers` are common words, and a user's project may have packages of these names.
    """
    return [sys.executable, "-I", "-m", module, *arguments]
