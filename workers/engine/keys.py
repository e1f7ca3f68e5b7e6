"""The names of all keys that the engine keeps in Redis: its own, and those of `app.redis_names`, which others read too.

Cache and flight keys belong to all runs, carry no hash tag, and are never touched inside a run's script.
"""

from collections.abc import Iterator

from redis import Redis

from app.redis_names import (
    LIMITS,
    LOGS_WANTED,
    SHARD,
    counts,
    events,
    inflight,
    limits,
    live_log,
    live_metrics,
    member,
    meta,
    pending,
    ready,
    states,
)
from app.redis_names import of_run as _of_run
from app.services.cache_index import ORGANISATION, index_key

__all__ = [
    "LIMITS", "LOGS_WANTED", "ORGANISATION", "counts", "limits", "live_log", "live_metrics", "member", "meta",
    "pending", "ready", "states",
]  # fmt: skip

INFLIGHT = inflight()
EVENTS = events()
MARKS = f"celesta:{{{SHARD}}}:marks"
"""How far the queue of steps was filled (`sent`) and emptied (`claimed`): tells a lost message from a waiting one. And
which Redis this is (`server`), and which of its lives (`life`): runs of an earlier one are unknown."""
TIMEOUT = "@timeout"
"""In the place of a step in `INFLIGHT`: the moment at which a run takes too long."""
RESTORED = "celesta:cache-restored"
"""There while the cache index holds what the database knows; gone when Redis lost everything."""
BEAT = "celesta:leader:beat"
RECONCILER = "celesta:leader:reconciler"
WATCHER = "celesta:leader:watcher"

_PER_RUN = ("meta", "st", "out", "cnt", "ready", "lim")


def of_run(run: str) -> list[str]:
    """The KEYS that every script of a run gets, in the order in which `common.lua` unpacks them."""
    return [INFLIGHT, EVENTS, MARKS, *(_of_run(run, part) for part in _PER_RUN)]


def rebuilding(run: str) -> str:
    """Held by who rebuilds the run, and ends by itself: nobody else makes the run known while it is held."""
    return _of_run(run, "rebuild")


def runs(client: Redis) -> Iterator[str]:
    """All runs that Redis knows: a look through its keys."""
    head, _, tail = meta("*").partition("*")
    for name in client.scan_iter(match=meta("*"), count=1_000):
        yield name.decode()[len(head) : -len(tail)]


def reuse(run: str) -> str:
    """Hash path -> result of an earlier run that this one takes over."""
    return _of_run(run, "reuse")


def outcomes(run: str) -> str:
    return _of_run(run, "out")


def cache(space: str) -> str:
    """Hash of key to entry: what the runs of a project share, or those of all of them (`ORGANISATION`)."""
    return index_key(space)


def flight(space: str, key: str) -> str:
    """Held by the one attempt that computes this cache key; everyone else waits for it."""
    return f"celesta:flight:{space}:{key}"


def waiters(space: str, key: str) -> str:
    """Set of `run|step` to be woken when the flight lands."""
    return f"celesta:waiting:{space}:{key}"
