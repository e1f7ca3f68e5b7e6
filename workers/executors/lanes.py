"""The client's side of a zygote: a lane to a bundle zygote, and the step children that come over it.

Called by the process executor, one step at a time per lane. A lane holds one child that is forked already; when it is
given a document the lane asks for the next one at once, so that the fork happens while the step runs.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from dataclasses import dataclass

from celesta.runtime.zygote.bundle import RETIRE_AFTER_SECONDS, Wanted
from celesta.runtime.zygote.wire import Message, message_pair, receive_message, send_bytes, send_message

# After half of what a zygote waits before it retires, a lane asks for it anew: so it never retires under a step.
TRUST_SECONDS = RETIRE_AFTER_SECONDS / 2


class LaneEnded(Exception):
    """The bundle zygote is gone; another lane finds its successor."""


class Refused(Exception):
    """The host has no process to give."""


@dataclass
class Child:
    """A step child, idle until it is given a document."""

    pid: int
    talk: socket.socket
    log: int

    def close(self) -> None:
        """Lets go of it: an idle child ends, one that runs a step is not asked any more."""
        self.talk.close()
        os.close(self.log)


class Lane:
    """A connection to the bundle zygote for what is wanted."""

    def __init__(self, clients: socket.socket, wanted: Wanted) -> None:
        self.wanted = wanted
        self._next: Child | None = None
        self._refusal = ""
        self._over = False
        self._endings: dict[int, Message] = {}
        self._used_at = time.monotonic()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._channel, theirs = message_pair()
        message = {"folder": wanted.folder, "module": wanted.module, "env": dict(wanted.env)}
        with theirs:
            send_message(clients, message, [theirs.fileno()])
        self._zygote: int | None = None
        self._life = select.poll()
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._request()

    @property
    def trusted(self) -> bool:
        """Whether its zygote is there: not seen to end, and used so lately that it cannot have retired."""
        return not self._over and time.monotonic() - self._used_at < TRUST_SECONDS

    def wake(self) -> None:
        """Makes a `wait` in another thread return early."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def close(self) -> None:
        """Hangs up. The zygote ends the children of this lane, running or not."""
        self._channel.close()
        if self._zygote is not None:
            os.close(self._zygote)
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._next is not None:
            self._next.close()
            self._next = None

    def take(self, seconds: float | None) -> Child | None:
        """The next child, or None when there is none after so long, or when the lane was woken."""
        if not self._refusal:
            # A child that waits already may be about to end with its zygote: what the zygote said last is read first.
            for descriptor in self._ready(seconds if self._next is None else 0.0):
                if descriptor == self._channel.fileno():
                    self._receive()
        if self._refusal:
            raise Refused(self._refusal)
        if self._life.poll(0):  # The lane does not end yet: a child that was being forked holds the other end.
            self._over = True
            raise LaneEnded
        child, self._next = self._next, None
        return child

    def give(self, child: Child, document: bytes) -> None:
        """Starts the child's step, and asks for the next child. Raises `OSError` when the child is gone: then no code
        of the step has run."""
        self._used_at = time.monotonic()
        send_bytes(child.talk, document)
        self._request()
        self._poll.register(child.talk, select.POLLIN)

    def wait(self, child: Child, seconds: float | None) -> bool:
        """Waits until the child has something to say, or has ended; False: not within this time, or woken before."""
        done = False
        for descriptor in self._ready(seconds):
            if descriptor == child.talk.fileno():
                done = True
            elif descriptor == self._channel.fileno():
                self._receive()
        return done or child.pid in self._endings

    def leave(self, child: Child) -> None:
        """Undoes `give`, after the child's result or end."""
        self._poll.unregister(child.talk)
        self._endings.pop(child.pid, None)
        self._used_at = time.monotonic()

    def kill(self, child: Child) -> None:
        """Has the zygote end the child and all below it: asked first, and soon after that killed."""
        with contextlib.suppress(OSError):
            send_message(self._channel, {"kill": child.pid})

    def ending(self, child: Child, seconds: float) -> Message | None:
        """How the child ended, as its zygote saw it. None: it does not know, or is gone itself."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(LaneEnded):
            while child.pid not in self._endings and (left := deadline - time.monotonic()) > 0:
                self._poll_channel(left)
        return self._endings.get(child.pid)

    def _poll_channel(self, seconds: float) -> None:
        self._channel.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return
        finally:
            self._channel.settimeout(None)

    def _ready(self, seconds: float | None) -> list[int]:
        found = [item[0] for item in self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000)]
        if self._wake_read in found:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 64)
        return found

    def _request(self) -> None:
        with contextlib.suppress(OSError):  # A lane that ended is noticed where it is read.
            send_message(self._channel, {"fork": 1})

    def _receive(self) -> None:
        received = receive_message(self._channel)
        if received is None:
            self._over = True
            raise LaneEnded
        message, descriptors = received
        if "child" in message:
            self._next = Child(message["child"], socket.socket(fileno=descriptors[0]), descriptors[1])
        elif "zygote" in message:
            self._zygote = descriptors[0]
            self._life.register(self._zygote, select.POLLIN)
        elif "ended" in message:
            self._endings[message["ended"]] = message
            if self._next is not None and self._next.pid == message["ended"]:
                self._next.close()  # It was ended while idle; the next one is asked for by whoever needs it.
                self._next = None
                self._request()
        else:
            self._refusal = message["refused"]
