"""The base server: a lean process that keeps one bundle zygote per bundle, environment and module.

Started by the worker's main process (`workers.executors.zygote`), through `python -m celesta.runtime.zygote`. Clients
send it the end of a lane and what they want; it hands the lane to the right bundle zygote, started when needed. When
its control pipe ends (the worker is gone, however), it kills all below it and exits.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from celesta.runtime.processes import (
    adopt_orphans,
    descendants,
    family,
    has_children,
    kill_all,
    kill_tree,
    name_process,
)
from celesta.runtime.zygote.bundle import RETIRE_AFTER_SECONDS, Wanted, become, last_used
from celesta.runtime.zygote.loop import Loop
from celesta.runtime.zygote.slots import remove_aside, remove_tree
from celesta.runtime.zygote.wire import message_pair, receive_message, send_message

KEEP_ZYGOTES = 4
IDLE_SECONDS = 600.0
IMPORT_SECONDS = 300.0
_LOOK_AROUND_SECONDS = 30.0
_CHECKPOINTS_KEPT_SECONDS = 7 * 86400.0

# What every step needs, imported once.
PRELOADED = (
    "celesta",
    "celesta.codecs",
    "celesta.types",
    "celesta.typecheck",
    "celesta.store",
)


@dataclass
class Bundle:
    """A bundle zygote, as the base sees it. `used` is shared with it."""

    wanted: Wanted
    control: socket.socket
    used: mmap.mmap
    ready: bool = False


class Base:
    """Serves until its control pipe ends."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from celesta.store import open_store

        self._clients = socket.socket(fileno=settings["clients"])
        self._scratch = f"{settings['scratch']}/{os.getpid()}"
        self._shared = {
            "store": open_store(settings["store_url"], settings["endpoint_url"]),
            "store_url": settings["store_url"],
            "endpoint_url": settings["endpoint_url"],
            "checkpoints": settings["checkpoints"],
        }
        self._bundles: dict[int, Bundle] = {}
        self._cold: set[Wanted] = set()
        self._helpers: set[int] = set()
        self._loop = Loop(self._ended)
        self._loop.on_readable(settings["control"], self._finish)
        self._loop.on_readable(self._clients.fileno(), self._from_client)
        self._tidy(settings["scratch"], settings["checkpoints"])

    def run(self) -> None:
        """Serves until the end, then leaves nothing behind."""
        self._loop.after(_LOOK_AROUND_SECONDS, self._look_around)
        self._loop.run()
        while has_children():
            kill_all(descendants(os.getpid()))
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    """One less."""
            time.sleep(0.002)
        remove_tree(self._scratch)

    def _finish(self) -> None:
        self._loop.stopped = True

    # Lanes

    def _from_client(self) -> None:
        received = receive_message(self._clients)
        if received is None:
            self._finish()
            return
        message, descriptors = received
        wanted = Wanted(message["folder"], message["module"], tuple(sorted(message["env"].items())))
        if not self._hand_over(wanted, descriptors):
            with contextlib.suppress(OSError):  # It ended at once: the client sees its lane end, and asks again.
                send_message(self._start(wanted, descriptors).control, {}, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _hand_over(self, wanted: Wanted, descriptors: list[int]) -> bool:
        """Gives the lane to the zygote that is there. False: there is none, or it has just ended."""
        for pid, bundle in self._bundles.items():
            if bundle.wanted == wanted:
                try:
                    send_message(bundle.control, {}, descriptors)
                except OSError:
                    self._ended(pid, os.waitpid(pid, 0)[1])
                    return False
                return True
        return False

    def _start(self, wanted: Wanted, inherited: list[int]) -> Bundle:
        ours, theirs = message_pair()
        used = mmap.mmap(-1, mmap.PAGESIZE)
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._loop.abandon()
            for descriptor in (ours.detach(), *inherited):
                os.close(descriptor)
            become(theirs, me, self._scratch, used, wanted, wanted in self._cold, self._shared)
        theirs.close()
        bundle = self._bundles[pid] = Bundle(wanted, ours, used)
        self._loop.on_readable(ours.fileno(), lambda: self._from_bundle(bundle))
        self._loop.after(IMPORT_SECONDS, lambda: self._end_import(pid, bundle))
        return bundle

    # Bundle zygotes

    def _from_bundle(self, bundle: Bundle) -> None:
        if receive_message(bundle.control) is None:
            self._loop.forget(bundle.control.fileno())
        else:
            bundle.ready = True

    def _end_import(self, pid: int, bundle: Bundle) -> None:
        """An import that takes for ever is left to the steps: their time-outs end it, and their logs show it."""
        if self._bundles.get(pid) is bundle and not bundle.ready:
            kill_tree(pid)

    def _ended(self, pid: int, status: int) -> None:
        bundle = self._bundles.pop(pid, None)
        if bundle is not None:
            if not bundle.ready:
                self._cold.add(bundle.wanted)
            self._loop.forget(bundle.control.fileno())
            bundle.control.close()
            self._helpers.add(remove_aside([f"{self._scratch}/{pid}"], self._loop.abandon))
        if pid in self._helpers:
            self._helpers.discard(pid)
            return
        for orphan in family().get(os.getpid(), ()):
            if orphan not in self._bundles and orphan not in self._helpers:
                kill_tree(orphan)

    def _look_around(self) -> None:
        """Ends the zygotes that nobody uses: soon where there are many, late where there are few."""
        self._loop.after(_LOOK_AROUND_SECONDS, self._look_around)
        now = time.monotonic()
        by_use = sorted((b for b in self._bundles.values() if b.ready), key=lambda b: last_used(b.used))
        surplus = len(by_use) - KEEP_ZYGOTES
        for number, bundle in enumerate(by_use):
            if now - last_used(bundle.used) > (RETIRE_AFTER_SECONDS if number < surplus else IDLE_SECONDS):
                with contextlib.suppress(OSError):
                    send_message(bundle.control, {"retire": True})

    # Folders

    def _tidy(self, scratch: str, checkpoints: str) -> None:
        """Removes what base servers that were killed have left, and checkpoints that nobody came back for."""
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        servers = filter(str.isdigit, os.listdir(scratch))  # Local runs have folders of other names beside.
        stale = [f"{scratch}/{pid}" for pid in servers if not os.path.isdir(f"/proc/{pid}")]
        with contextlib.suppress(FileNotFoundError):
            before = time.time() - _CHECKPOINTS_KEPT_SECONDS
            stale += [run.path for run in os.scandir(checkpoints) if run.stat().st_mtime < before]
        if stale:
            self._helpers.add(remove_aside(stale, self._loop.abandon))


def main(settings: str) -> None:
    """Runs the base server. `settings` is a JSON object: the descriptors `control` and `clients`, the folders
    `scratch` and `checkpoints`, `store_url` and `endpoint_url`."""
    name_process("celesta-zygote")
    os.environ.pop("LD_BIND_NOW", None)  # It was for this interpreter, not for the programs that steps start.
    adopt_orphans()
    for module in PRELOADED:
        importlib.import_module(module)
    Base(json.loads(settings)).run()
