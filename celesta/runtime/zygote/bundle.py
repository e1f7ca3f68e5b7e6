"""The bundle zygote: has imported one module of one bundle, and forks step children for the lanes of its clients.

Started by the base server, ends with it. Owns its step children, their scratch directories, and everything that they
leave behind: each child adopts its own orphans while it lives, so what arrives here unknown belongs to a dead step.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import mmap
import os
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from celesta.runtime import enter
from celesta.runtime.processes import adopt_orphans, die_with_parent, family, kill_tree, name_process, oom_kills
from celesta.runtime.zygote import child
from celesta.runtime.zygote.loop import Loop
from celesta.runtime.zygote.rehearsal import warm_up
from celesta.runtime.zygote.slots import Slot, Slots, remove_aside
from celesta.runtime.zygote.spares import Spares
from celesta.runtime.zygote.wire import Message, receive_message, send_message

KILL_GRACE_SECONDS = 1.0
# A client trusts its lane for half of this, so a zygote that sees no use for so long cannot be about to get a step.
RETIRE_AFTER_SECONDS = 60.0
# The exit status that asks the base for a zygote which leaves the import to its children.
IMPORT_IN_CHILDREN = 114


@dataclass(frozen=True)
class Wanted:
    """What a bundle zygote is for; the key by which the base finds it."""

    folder: str | None
    module: str
    env: tuple[tuple[str, str], ...]


@dataclass
class Held:
    """A step child that a lane has, from when it is handed out to its end."""

    lane: socket.socket
    slot: Slot


class BundleZygote:
    """Serves the lanes that the base hands over, until the base is gone or retires it."""

    def __init__(self, control: socket.socket, scratch: str, used: mmap.mmap, shared: child.Surroundings) -> None:
        self._control = control
        self._slots = Slots(scratch)
        self._spares = Spares(self._slots, self._become_step)
        self._used = used
        self._shared = shared
        self._loop = Loop(self._ended)
        self._lanes: dict[int, socket.socket] = {}
        self._children: dict[int, Held] = {}
        self._helpers: set[int] = set()
        self._oom_kills = oom_kills()
        self._cores = len(os.sched_getaffinity(0))

    def serve(self) -> None:
        """Serves until the end."""
        self._touch()
        send_message(self._control, {"ready": True})
        self._loop.on_readable(self._control.fileno(), self._from_base)
        self._loop.run()

    # From the base

    def _from_base(self) -> None:
        received = receive_message(self._control)
        if received is None:
            self._finish()
            return
        message, descriptors = received
        if "retire" in message:
            self._retire()
        for descriptor in descriptors:
            lane = socket.socket(fileno=descriptor)
            self._lanes[descriptor] = lane
            self._loop.on_readable(descriptor, lambda lane=lane: self._from_client(lane))  # type: ignore[misc]
            self._introduce(lane)

    def _introduce(self, lane: socket.socket) -> None:
        """Gives the client what tells it of our end at once: a child that is being forked holds the lane a while."""
        with contextlib.suppress(OSError):  # An old kernel has none.
            life = os.pidfd_open(os.getpid())
            self._tell(lane, {"zygote": os.getpid()}, (life,))
            os.close(life)

    def _retire(self) -> None:
        """Ends, unless a step runs: a lane asks for its next child when it uses one, so each idle lane has one."""
        lanes = [held.lane for held in self._children.values()]
        if len(lanes) == len(set(map(id, lanes))) and time.monotonic() - last_used(self._used) > RETIRE_AFTER_SECONDS:
            self._finish()

    def _finish(self) -> None:
        for pid in [*self._children, *self._spares.waiting]:
            kill_tree(pid)
        self._loop.stopped = True

    def _touch(self) -> None:
        struct.pack_into("d", self._used, 0, time.monotonic())

    # From a client

    def _from_client(self, lane: socket.socket) -> None:
        received = receive_message(lane)
        if received is None:
            self._hang_up(lane)
        elif "fork" in received[0]:
            self._touch()
            self._hand_out(lane)
        elif "kill" in received[0]:
            self._kill(received[0]["kill"])

    def _hang_up(self, lane: socket.socket) -> None:
        """The client is gone: its steps go with it."""
        self._loop.forget(lane.fileno())
        self._lanes.pop(lane.fileno(), None)
        for pid, held in list(self._children.items()):
            if held.lane is lane:
                kill_tree(pid)
        lane.close()

    def _kill(self, pid: int) -> None:
        if pid in self._children:
            kill_tree(pid, signal.SIGTERM)
            self._loop.after(KILL_GRACE_SECONDS, lambda: kill_tree(pid) if pid in self._children else None)

    def _tell(self, lane: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(OSError):  # A lane that broke is hung up when its end is read.
            send_message(lane, message, descriptors)

    # Children

    def _hand_out(self, lane: socket.socket) -> None:
        rehearse = self._running(lane) < self._cores
        try:
            spare = self._spares.take(rehearse)
        except OSError as error:
            self._tell(lane, {"refused": f"no process can be started for a step: {error}"})
            return
        self._children[spare.pid] = Held(lane, spare.slot)
        self._tell(lane, {"child": spare.pid}, (spare.talk.fileno(), spare.slot.log))
        spare.talk.close()
        self._spares.prepare(rehearse)

    def _become_step(self, talk: socket.socket, slot: Slot, parent: int, rehearse: bool) -> NoReturn:
        """The other side of a fork."""
        self._loop.abandon()
        child.live(talk, slot, parent, self._shared, rehearse)

    def _running(self, lane: socket.socket) -> int:
        """How many steps run, when this lane asks for a child: each lane has one child that waits, or is to get it."""
        lanes = {id(held.lane) for held in self._children.values()} | {id(lane)}
        return len(self._children) + 1 - len(lanes)

    def _ended(self, pid: int, status: int) -> None:
        held = self._children.pop(pid, None)
        if held is None:
            if pid not in self._helpers and not self._spares.drop(pid):
                self._sweep()
            self._helpers.discard(pid)
            return
        clean = os.WIFEXITED(status) and os.WEXITSTATUS(status) == child.CLEAN
        if not clean:
            self._sweep()
            self._tell(held.lane, {"ended": pid, "status": status, "out_of_memory": self._memory_ran_out(status)})
        if left := self._slots.give_back(held.slot, clean):
            self._helpers.add(remove_aside(left, self._loop.abandon))

    def _sweep(self) -> None:
        """Ends what dead steps left behind: every child of ours that we did not start."""
        known = self._children.keys() | self._helpers | self._spares.waiting.keys()
        for pid in family().get(os.getpid(), ()):
            if pid not in known:
                kill_tree(pid)

    def _memory_ran_out(self, status: int) -> bool:
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return False
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before


def become(
    control: socket.socket, base: int, scratch: str, used: mmap.mmap, wanted: Wanted, cold: bool, shared: dict[str, Any]
) -> NoReturn:
    """The fresh fork of the base becomes the zygote of a bundle; `cold` leaves the import to its children."""
    try:
        die_with_parent(base)
        adopt_orphans()
        name_process("celesta-bundle")
        _prefer_as_victim()
        os.environ.update(wanted.env)
        if wanted.folder is not None:
            enter.put_on_path(wanted.folder)
        enter.open_text_streams()
        faulthandler.enable(2)  # A segmentation fault in a step writes where it was to the step's log.
        if not cold:
            _import(wanted.module)
        folder = f"{scratch}/{os.getpid()}"
        os.makedirs(folder, mode=0o700)
        surroundings = child.Surroundings(root=wanted.folder, freshen=child.freshener(), **shared)
        zygote = BundleZygote(control, folder, used, surroundings)
        warm_up()
        gc.collect()
        gc.disable()
        gc.freeze()
        zygote.serve()
    except BaseException:
        traceback.print_exc()  # A fault of ours, or of the host: the worker's log is where it can be seen.
    finally:
        os._exit(0)


def last_used(used: mmap.mmap) -> float:
    """When a bundle zygote last gave out a child, on the monotonic clock."""
    when: float = struct.unpack_from("d", used, 0)[0]
    return when


def _import(module: str) -> None:
    # A module that does not import is imported again by the step: the error, and what was printed, are the step's.
    with contextlib.suppress(BaseException):
        loaded = importlib.import_module(module)
        if "async def" in Path(loaded.__file__ or os.devnull).read_text():
            importlib.import_module("asyncio")
    sys.stdout.flush()
    sys.stderr.flush()
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        os._exit(IMPORT_IN_CHILDREN)  # Threads do not survive a fork: each step has to start its own.


def _prefer_as_victim() -> None:
    """When memory runs out, a step is ended before the worker is."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("300")
