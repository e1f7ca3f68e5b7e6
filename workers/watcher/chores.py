"""What is asked of the API server pod by pod: done by a few threads, so that no tick of the watcher waits for it.

A chore has a name, by which it is in hand once, and done again no sooner than after a minute. When much is in hand, the
rest is left to whoever comes again: all that is done here is found anew at each look.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from celesta.errors import CelestaError

log = logging.getLogger(__name__)

THREADS = 8
MOST_IN_HAND = 500
AGAIN_SECONDS = 60.0


class Chores:
    """Those of one watcher."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="chores")
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._done_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._in_hand)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def do(self, name: str, chore: Callable[[], None]) -> None:
        """Has this done soon. Where it raises a `CelestaError` it may be done again at once."""
        with self._lock:
            if name in self._in_hand or name in self._done_at or len(self._in_hand) >= MOST_IN_HAND:
                return
            self._in_hand.add(name)
        self._pool.submit(self._run, name, chore)

    def forget(self) -> None:
        """Lets go of what was done more than a minute ago."""
        before = monotonic() - AGAIN_SECONDS
        with self._lock:
            self._done_at = {name: at for name, at in self._done_at.items() if at > before}

    def _run(self, name: str, chore: Callable[[], None]) -> None:
        try:
            chore()
            with self._lock:
                self._done_at[name] = monotonic()
        except CelestaError as error:
            log.warning("%s later: %s", name, error)
        except Exception:
            log.exception("%s: not done", name)
        finally:
            with self._lock:
                self._in_hand.discard(name)
