"""The process executor: each attempt is a child process of this host, forked from a warm zygote.

In the worker's main process, before it forks its children:

    zygote = start_zygote(config)      # the base server; zygote.close() ends it, and so does the end of this process

In each of them (`executor.cancel` and `executor.logs` from any thread, `submit` from as many as there are steps):

    executor = ProcessExecutor(config, on_log=publish)
    result = executor.submit(document)         # blocks; the result document, durable in the store
    executor.close()

Without a `start_zygote` before it, an executor starts a zygote of its own with the first step. An executor may be
made before a fork; what it has opened is not shared across it. `on_log(run, node, token, data)` is called from the
thread in `submit`, only for attempts that run longer than a second.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from celesta.errors import CelestaError, InputError
from celesta.runtime import checkpoints, verdicts
from celesta.runtime.bundles import unpacked
from celesta.runtime.failures import told_error
from celesta.runtime.zygote.bundle import Wanted
from celesta.store import open_store
from workers.executors.attempts import Attempt
from workers.executors.base import Capabilities, Document, Executor, ExecutorConfig, Later, OnLog, OnMetrics
from workers.executors.lanes import Lane, LaneEnded, Refused
from workers.executors.secrets import secrets_of
from workers.executors.slots import MILLI, Ask, Claim, Slots
from workers.executors.zygote import Zygote, running_zygote, start_zygote

__all__ = ["ProcessExecutor", "start_zygote"]

KEEP_LANES = 4
ASK_AGAIN_SECONDS = 0.05
TELL_AFTER_SECONDS = 1.0
GIVE_BACK_AFTER_SECONDS, CLAIM_AGAIN_SECONDS = 5.0, 2.0
ONE_SLOT = Ask.of(None)
_LANE_TRIES = 4


class ProcessExecutor(Executor):
    """Runs attempts in processes of this host."""

    capabilities: ClassVar[Capabilities] = Capabilities(live_logs=True)

    def __init__(
        self, config: ExecutorConfig, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None
    ) -> None:
        super().__init__(config, on_log, on_metrics)
        self._store = open_store(config.store_url, config.s3_endpoint_url)
        self._bundles = Path(config.home) / "bundles"
        self._checkpoints = Path(config.home) / "checkpoints"
        self._lock = threading.Lock()
        self._own_zygote: Zygote | None = None
        self._forget()

    def submit(self, document: Document) -> Document:
        """Runs the attempt; its result document (see the base class)."""
        if os.getpid() != self._pid:
            self._forget()
        attempt = Attempt(document, self._store, self.on_log, self._worker, self._checkpoints, self.on_metrics)
        self._attempts[attempt.key] = attempt
        try:
            given = secrets_of(document, self.config)
            attempt.hide(given)
            wanted, envelope = self._prepare(document, given)
            claim = self._slots.claim(Ask.of(document["resources"], self._slots.capacity))
            try:
                if not self._admit(claim, attempt):
                    return attempt.fail(verdicts.cancelled())
                checkpoints.fetch(self._store, document, self._checkpoints)
                return self._run(attempt, wanted, envelope)
            finally:
                claim.leave()
        except CelestaError as error:
            return attempt.fail(told_error(error))
        finally:
            self._attempts.pop(attempt.key, None)

    def cancel(self, run: str, node: str, token: str) -> bool:
        """Ends this attempt and everything that it started."""
        attempt = self._attempts.get((run, node, token))
        if attempt is None:
            return False
        attempt.cancel()
        return True

    def logs(self, run: str, node: str, token: str, offset: int = 0) -> bytes | None:
        """What a running attempt has written so far."""
        attempt = self._attempts.get((run, node, token))
        return None if attempt is None else attempt.read_log(offset)

    def close(self) -> None:
        """Hangs up all lanes; steps that run end with them."""
        for attempt in list(self._attempts.values()):
            attempt.cancel()
        with self._lock:
            lanes = [lane for idle in self._lanes.values() for lane in idle]
            self._lanes.clear()
        for lane in lanes:
            lane.close()
        self._slots.close()
        if self._own_zygote is not None:
            self._own_zygote.close()

    def _prepare(self, document: Document, given: Mapping[str, str]) -> tuple[Wanted, bytes]:
        """Which zygote the step wants, and what its child is told. The given secrets go to the child alone."""
        if document["kind"] == "container":
            raise InputError(
                f"step {document['path']!r} is a command in a container, and this executor runs Python only"
            )
        digest = document["bundle"]
        folder = self._folders.get(digest)
        if folder is None and digest is not None:
            folder = self._folders[digest] = os.fspath(unpacked(self._store, digest, self._bundles))
        module = document["entrypoint"].partition(":")[0]
        wanted = Wanted(folder, module, tuple(sorted((document.get("env") or {}).items())))
        told = {"document": document, "secrets": given, "worker": self._worker}
        return wanted, json.dumps(told, separators=(",", ":")).encode()

    def _admit(self, claim: Claim, attempt: Attempt) -> bool:
        """Waits for a part of the host, and says so in the attempt's log; False when it was cancelled meanwhile.

        Raises `Later` for one that any other host could take as well: nothing is reserved here for it.
        """
        since = time.monotonic()
        told_at = since + TELL_AFTER_SECONDS
        while not claim.is_admitted():
            if attempt.cancelled.wait(ASK_AGAIN_SECONDS):
                return False
            if time.monotonic() > told_at:
                told_at = float("inf")
                attempt.note(f"waiting for {claim.ask}: {self._slots.held()} of {self._slots.capacity} are taken\n")
            if claim.ask == ONE_SLOT and time.monotonic() > since + GIVE_BACK_AFTER_SECONDS:
                raise Later(CLAIM_AGAIN_SECONDS, "all slots of this worker are taken")
        return True

    def _run(self, attempt: Attempt, wanted: Wanted, envelope: bytes) -> Document:
        for _ in range(_LANE_TRIES):
            lane = self._take_lane(wanted)
            try:
                result = attempt.run(lane, envelope)
            except LaneEnded:
                lane.close()
            except Refused as refusal:
                lane.close()
                return attempt.fail(verdicts.lost(str(refusal)))
            except BaseException:
                lane.close()  # Its zygote ends the step.
                raise
            else:
                self._give_back(lane)
                return result
        return attempt.fail(verdicts.lost("the zygote ends again and again; the worker's log tells more"))

    # Lanes

    def _take_lane(self, wanted: Wanted) -> Lane:
        with self._lock:
            idle = self._lanes.get(wanted, [])
            while idle:
                lane = idle.pop()
                if lane.trusted:
                    return lane
                lane.close()
        return Lane(self._zygote().clients, wanted)

    def _give_back(self, lane: Lane) -> None:
        with self._lock:
            self._lanes.setdefault(lane.wanted, []).append(lane)
            self._lanes.move_to_end(lane.wanted)
            surplus = self._lanes.popitem(last=False)[1] if len(self._lanes) > KEEP_LANES else []
        for unused in surplus:
            unused.close()

    def _zygote(self) -> Zygote:
        found = running_zygote()
        if found is not None:
            return found
        with self._lock:
            self._own_zygote = self._own_zygote or Zygote(self.config)
            return self._own_zygote

    def _forget(self) -> None:
        """A fresh start; in a fork the lanes of the parent are its own."""
        self._pid = os.getpid()
        self._worker = f"{os.uname().nodename}:{self._pid}"
        self._attempts: dict[tuple[str, str, str], Attempt] = {}
        self._lanes: OrderedDict[Wanted, list[Lane]] = OrderedDict()
        self._folders: dict[Any, str | None] = {}
        capacity = Ask(self.config.slots * MILLI, self.config.memory_bytes)
        zygote = running_zygote()
        self._slots = Slots(Path(self.config.home) / "run", capacity, zygote.owner if zygote else self._pid)
