"""Which runs have so many events ahead of the record that they wait behind all others.

The recorder keeps one for each stream. A run of hundreds of thousands of steps says more at once than a database takes
in seconds, and what others say comes behind it in the stream. So the recorder reads on, records the others at once, and
the huge runs bit by bit from its offset, which stays behind; what it recorded ahead may be read again after a crash,
without harm. Knows no database and no Redis.
"""

import re
from collections import Counter
from collections.abc import Sequence

from workers.event_stream import Entry

HUGE_EVENTS = 5_000
"""So much of one run is recorded as it comes: less than a second of a database."""
_RUN = re.compile(rb'"run": ?"([^"]*)"')
"""The first such field of an event is its own run."""


class Backlog:
    """The huge runs of one stream, while there are any."""

    def __init__(self) -> None:
        self._ahead: Counter[bytes] = Counter()
        self._huge: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._huge)

    def others(self, entries: Sequence[Entry], more: bool) -> Sequence[Entry]:
        """The entries that are to be recorded now. `more`: the stream goes on behind them, so that they are counted."""
        if not more:
            self._ahead.clear()
            if not self._huge:
                return entries
        runs = [_run_of(entry) for entry in entries]
        if more:
            self._ahead.update(runs)
            self._huge.update(run for run in set(runs) if run and self._ahead[run] > HUGE_EVENTS)
        return [entry for entry, run in zip(entries, runs, strict=True) if run not in self._huge]

    def left(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Of entries that were read before, those that are not recorded yet."""
        return [entry for entry in entries if _run_of(entry) in self._huge]

    def clear(self) -> None:
        """All is recorded."""
        self._ahead.clear()
        self._huge.clear()


def _run_of(entry: Entry) -> bytes:
    found = _RUN.search(entry.text)
    return found[1] if found else b""
