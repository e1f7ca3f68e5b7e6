"""What the token of an attempt gives to a container: its document, its store, and a fresh token in time.

Made by the programs that last as long as their container, `celesta.runtime` and `celesta.runtime.exchange take`, which
call `renew` now and then. Whoever is forked from them sees the newest token at each use of a store.
Standard library only.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import MutableMapping
from functools import cached_property
from typing import Any

from celesta.store.base import Store, prefix_of
from celesta.store.step import StepStore

Document = dict[str, Any]

LONGEST_SECONDS = 900.0
"""A token is renewed after a quarter of its time, so that a server may be away when it is, but after this at most."""


class Granted:
    """One attempt, by the token in the environment, which leaves it: programs of the step have no use for it."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self.url, self._token = environ.pop("CELESTA_STEP_URL"), Shown(environ.pop("CELESTA_STEP_TOKEN"))
        lasts = float(environ.get("CELESTA_STEP_TOKEN_SECONDS") or 4 * LONGEST_SECONDS)
        self._identity = environ.get("CELESTA_STEP_ACCESS") == "identity"
        self._endpoint = environ.get("CELESTA_S3_ENDPOINT_URL")
        self.renew_seconds = min(LONGEST_SECONDS, lasts / 4)
        self._renew_at = time.monotonic() + self.renew_seconds

    @cached_property
    def document(self) -> Document:
        """The step document. Raises `StoreError`."""
        return StepStore(self.url, self._token.get).document()

    def open(self) -> Store:
        """A store of its own for the process that asks."""
        if self._identity:
            from celesta.store import open_store

            return open_store(self.document["store_url"], self._endpoint)
        return StepStore(self.url, self._token.get, prefix_of(self.document))

    def renew(self) -> None:
        """Has a fresh token when it is time for one. Raises `StoreError`: then it tries again later."""
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + self.renew_seconds
            self._token.set(StepStore(self.url, self._token.get).renewed())


class Shown:
    """A text that one process sets and its forks see: in memory that they share, so that it lies in no file.

    There is room for two, and a byte says which one counts: it changes at once.
    """

    def __init__(self, text: str) -> None:
        self._room = 2 * len(text)
        self._memory = mmap.mmap(-1, 1 + 2 * self._room)
        self.set(text)

    def get(self) -> str:
        start = 1 + self._memory[0] * self._room
        return self._memory[start : start + self._room].rstrip(b"\0").decode()

    def set(self, text: str) -> None:
        other = 1 - self._memory[0]
        start = 1 + other * self._room
        self._memory[start : start + self._room] = text.encode().ljust(self._room, b"\0")
        self._memory[0] = other
