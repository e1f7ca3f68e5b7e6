"""The executor of each step: the one that it names, else that of the deployment; each made when it is first wanted.

A worker child gives this to its runner, and the reconciler asks it where launched work is. Knows no executor itself.
"""

from __future__ import annotations

import logging
import time

from celesta.errors import CelestaError
from celesta.runtime import verdicts
from celesta.runtime.failures import error_document, plain_error
from celesta.store import open_store
from workers.executors.base import Document, Executor, ExecutorConfig, Later, OnLog, OnMetrics, get

log = logging.getLogger(__name__)


class ChosenExecutor(Executor):
    """Hands each attempt to the executor of its step."""

    def __init__(
        self, config: ExecutorConfig, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None
    ) -> None:
        super().__init__(config, on_log, on_metrics)
        self.name = config.executor
        self._made: dict[str, Executor] = {}

    def of(self, name: str) -> Executor:
        """The executor of this name. Raises `ConfigError` when there is none."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = get(name, self.config, self.on_log, self.on_metrics)
        return found

    def submit(self, document: Document) -> Document | None:
        """Runs the attempt, or launches it; one whose executor cannot be had, or makes a mistake, fails."""
        try:
            return self.of(document.get("executor") or self.name).submit(document)
        except Later:
            raise
        except CelestaError as error:
            return self._failed(document, plain_error(type(error).__name__, str(error), "user"))
        except Exception as error:
            # Let through it would be a lost lease: told forty seconds later, and as no more than that.
            log.exception("the executor failed at step %s of run %s", document["path"], document["run"])
            return self._failed(document, error_document(error, "system"))

    def _failed(self, document: Document, failure: Document) -> Document:
        store = open_store(self.config.store_url, self.config.s3_endpoint_url)
        return verdicts.conclude(document, store, failure, None, time.monotonic(), "")

    def cancel(self, run: str, node: str, token: str) -> bool:
        """Ends this attempt, wherever it runs."""
        return any(executor.cancel(run, node, token) for executor in list(self._made.values()))

    def logs(self, run: str, node: str, token: str, offset: int = 0) -> bytes | None:
        """What a running attempt has written so far."""
        found = (executor.logs(run, node, token, offset) for executor in list(self._made.values()))
        return next((data for data in found if data is not None), None)

    def close(self) -> None:
        for executor in self._made.values():
            executor.close()
