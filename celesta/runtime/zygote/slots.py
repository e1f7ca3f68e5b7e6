"""Where one step child works: an empty scratch directory, a place for the files of its inputs, and a log.

Owned by a bundle zygote. A slot that a step left as it found it serves again: most steps write nothing, and a file
system that is asked nothing keeps no step waiting for its journal.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celesta.runtime.enter import open_log

_MODE = 0o40700


@dataclass(frozen=True)
class Slot:
    """`folder` is the working directory; `inputs` exists only when an input is a file; the log has no name at all."""

    folder: str
    log: int

    @property
    def inputs(self) -> str:
        """Where received files are laid, beside the working directory, which starts empty."""
        return f"{self.folder}.in"


class Slots:
    """The slots below one folder."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._numbers = itertools.count(1)
        self._free: list[Slot] = []

    def take(self) -> Slot:
        """A slot that is as good as new."""
        if self._free:
            return self._free.pop()
        folder = f"{self._root}/{next(self._numbers)}"
        os.mkdir(folder, 0o700)
        log = open_log(f"{folder}.log")
        os.unlink(f"{folder}.log")  # The descriptor is enough, and nobody has to remember to remove it.
        return Slot(folder, log)

    def give_back(self, slot: Slot, clean: bool) -> list[str]:
        """Takes the slot of a child that ended, `clean` when it left no process behind that could still write.

        What is returned are folders that are not empty, for the caller to remove.
        """
        if clean and _is_untouched(slot):
            self._free.append(slot)
            return []
        os.close(slot.log)
        return [folder for folder in (slot.folder, slot.inputs) if not _is_gone(folder)]


def remove_aside(folders: list[str], abandon: Callable[[], None]) -> int:
    """Removes what may be large in a process of its own, which drops by `abandon` what its parent serves; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        abandon()
        for folder in folders:
            remove_tree(folder)
    finally:
        os._exit(0)


def remove_tree(folder: str) -> None:
    """Removes a directory, also where the step took its own permissions away."""
    import shutil

    def again(remove: Any, path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            remove(path)

    shutil.rmtree(folder, onerror=again)
    shutil.rmtree(folder, ignore_errors=True)


def _is_untouched(slot: Slot) -> bool:
    try:
        found = os.stat(slot.folder)
        return (
            os.fstat(slot.log).st_size == 0
            and found.st_mode == _MODE
            and not os.listdir(slot.folder)
            and not os.path.lexists(slot.inputs)
        )
    except OSError:
        return False


def _is_gone(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
