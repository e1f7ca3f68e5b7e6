"""What failed first in a local run, and below each of its maps that may succeed without some of their items.

Made by `celesta.local.run`. Such a failure is the run's only when its map fails, as on a server: until then it stops
nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Failure = dict[str, Any]
"""`path`, `type`, `message`, `traceback`, `kind`, and `log`: where the log of the step is, or None."""


class Failures:
    """The first failure at each level: the run, and the maps at work that may miss items, one inside the other."""

    def __init__(self) -> None:
        self._first: list[Failure | None] = [None]

    @property
    def of_run(self) -> Failure | None:
        """What the run fails with, as far as it is known."""
        return self._first[0]

    def tell(self, failure: Failure) -> None:
        """A failure of what is at work now: of the run, or of an item that may be missed."""
        self._first[-1] = self._first[-1] or failure

    def end_run(self, failure: Failure) -> None:
        """A failure of the run as a whole, whatever is at work."""
        self._first[0] = self._first[0] or failure

    @contextmanager
    def below_map(self, may_miss: bool) -> Iterator[list[Failure]]:
        """While the items of a map are at work. Where it may miss some, the list has the first to fail afterwards."""
        found: list[Failure] = []
        if not may_miss:
            yield found
            return
        self._first.append(None)
        try:
            yield found
        finally:
            first = self._first.pop()
            found += [] if first is None else [first]
