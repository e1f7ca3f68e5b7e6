"""The heartbeat of a worker child: a thread that keeps the leases of the batch in hand while its steps run.

Also the child's ear: a heartbeat tells that an attempt was superseded or its run cancelled, and then the executor kills
it. And its conscience: when one step of a batch turns out to be slow, what waits behind it goes back to the queue and
what ended before it is reported.
"""

import logging
import threading
from time import monotonic

from redis.exceptions import RedisError

from celesta.errors import CelestaError
from workers.engine import caching
from workers.engine.running import Batch, Runner

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How soon a step hears that its run was cancelled, or took too long."""
SLOW_SECONDS = 0.5
"""A step of a batch that takes longer than this no longer keeps the others waiting."""


class Leases(threading.Thread):
    """Ticks until told to stop; does nothing while no step runs."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(name="leases", daemon=True)
        self.runner = runner
        self.stop = threading.Event()

    def run(self) -> None:
        every = min(TICK_SECONDS, self.runner.engine.lease_seconds / 3)
        while not self.stop.wait(every):
            try:
                self.tick()
            except (RedisError, OSError, CelestaError) as error:  # The next may come through; a lease is three of them.
                log.warning("a heartbeat did not come through: %s", error)
            except Exception:  # Without this thread no step of the child would keep its lease ever after.
                log.exception("a heartbeat failed")

    def tick(self) -> None:
        batch = self.runner.batch
        if batch is None:
            return
        self._unblock(batch)
        held = batch.held()
        if not held:
            return
        engine, view = self.runner.engine, batch.view
        reply = engine.call("renew", view.run, steps=held, owner=self.runner.worker, lease=engine.lease_ms)
        if reply["status"] != "ok":  # Redis lost the run. Go on: a rebuild takes back what still lives.
            return
        for (node, token), answer in zip(held, reply["answers"], strict=True):
            if answer != "ok" and batch.current == (node, token):
                batch.stopped[node] = answer
                self.runner.executor.cancel(view.run, node, token)
        caching.renew(engine.client, list(batch.flights.items()), engine.lease_ms)

    def _unblock(self, batch: Batch) -> None:
        if monotonic() - batch.since < SLOW_SECONDS:
            return
        blocked = batch.take_waiting()
        if blocked:
            self.runner.give_back(batch, blocked)
        ended = batch.take_ended()
        if ended:
            batch.report(ended)
