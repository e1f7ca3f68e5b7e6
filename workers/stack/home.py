"""The home of an embedded stack: its folders, its lock, and what it tells clients.

The supervisor is the only caller. It refuses a home that cannot be written and one whose stack runs already; what a
killed stack left behind is put away.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celesta.errors import StackError
from celesta.settings import alive, make_home, pid_file, remove_empty, run_folder, stack_file, unusable

SOCKET_PATH_BYTES = 100
"""A Unix socket's address holds 107 bytes; the rest is for the temporary names of its owner."""
TAKEOVER_SECONDS = 5.0
"""How long to wait for the processes of a killed supervisor to follow it."""
MAX_LOG_BYTES = 20 * 2**20
"""A log that grows beyond this begins anew; the one before it is kept beside."""
FOLDERS = ("run", "logs", "store", "broker", "bundles", "scratch")


@dataclass
class Home:
    """An open home: prepared and locked by this process until it ends."""

    path: Path
    lock: int
    """Descriptor of the lock. Roles inherit it, so that no second stack starts before the last of them is gone."""
    made: list[Path]
    """Folders that were not there before."""
    temporary: Path | None = None
    """A short folder for the socket, when the home's own path is too long for one."""

    @classmethod
    def open(cls, path: Path) -> "Home":
        """Raises `StackError` when the folder cannot be used or another stack has it."""
        made = make_home(path, *FOLDERS)
        try:
            lock = os.open(pid_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        _acquire(lock, path)
        stack_file(path).unlink(missing_ok=True)
        return cls(path, lock, made)

    def socket(self) -> Path:
        """Where the broker listens; under the system's temporary folder when the home's own path is too long."""
        path = run_folder(self.path) / "redis.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            return path
        self.temporary = Path(tempfile.mkdtemp(prefix="celesta-"))
        return self.temporary / "redis.sock"

    def log(self, role: str) -> Path:
        return self.path / "logs" / f"{role}.log"

    @property
    def is_ours(self) -> bool:
        """Whether this process still has the home: its pidfile is there, and names it."""
        try:
            same_file = os.path.samestat(os.fstat(self.lock), pid_file(self.path).stat())
            return same_file and self._owner == os.getpid()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # A file system that does not answer for a moment has not given the home away.

    @property
    def _owner(self) -> int:
        text = os.pread(self.lock, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0

    def rotate_logs(self) -> None:
        """Begin the logs anew that have become too long. What writes to one goes on: it appends to the same file."""
        for log in (self.path / "logs").glob("*.log"):
            with suppress(OSError):  # A full disk: the log stays as it is.
                if log.stat().st_size > MAX_LOG_BYTES:
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                    os.truncate(log, 0)

    def announce(self, url: str, pids: dict[str, int], started_at: str) -> None:
        """Tell clients that the stack is ready, and its processes after a restart."""
        self._write(stack_file(self.path), {"url": url, "pids": pids, "started_at": started_at})

    def close(self) -> None:
        """Tell clients that the stack is gone, and let the next one in. A home that was made for a stack that never
        was is gone too."""
        if self.is_ours:
            stack_file(self.path).unlink(missing_ok=True)
            pid_file(self.path).unlink(missing_ok=True)
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)
        remove_empty(self.made)
        os.close(self.lock)

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(path)


def _acquire(lock: int, path: Path) -> None:
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode().strip()
            if (owner.isdigit() and alive(int(owner))) or time.monotonic() > deadline:
                raise StackError(
                    f"a stack already runs in {path} (process {owner or 'unknown'}). "
                    "See it with `celesta status`, stop it with `celesta down`."
                ) from None
        time.sleep(0.05)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
