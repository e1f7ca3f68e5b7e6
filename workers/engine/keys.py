"""The names of all keys that the engine keeps in Redis, in one place.

A run, its deadlines and its events share one hash tag, so that one script may touch them on a cluster too. Cache and
flight keys belong to all runs, carry no tag, and are never touched inside a run's script.
"""

from app.services.cache_index import ORGANISATION, index_key

__all__ = ["ORGANISATION"]

SHARD = "{p0}"
INFLIGHT = f"celesta:{SHARD}:inflight"
"""Sorted set `run|step` by deadline: outbox, lease table, timers and active steps in one."""
EVENTS = f"celesta:{SHARD}:events"
MARKS = f"celesta:{SHARD}:marks"
"""How far the queue of steps was filled (`sent`) and emptied (`claimed`): tells a lost message from a waiting one."""
TIMEOUT = "@timeout"
"""In the place of a step in `INFLIGHT`: the moment at which a run takes too long."""
RESTORED = "celesta:cache-restored"
"""There while the cache index holds what the database knows; gone when Redis lost everything."""
RECONCILER = "celesta:leader:reconciler"
WATCHER = "celesta:leader:watcher"
LOGS_WANTED = "celesta:logs-wanted"
"""Sorted set of live logs (`run|node|token`) that somebody looks at, by until when (seconds since the epoch)."""

LIMITS = f"celesta:{SHARD}:limit"
"""Prefix of `:<project>`, a hash of the size of each of its limits; of `:<project>:@<name>`, the set of `run|step` that
use one; and of `:<project>:@<name>:line`, the runs that wait for it, by the time since when."""

_PER_RUN = ("meta", "st", "out", "cnt", "ready", "lim")


def of_run(run: str) -> list[str]:
    """The KEYS that every script of a run gets, in the order in which `common.lua` unpacks them."""
    return [INFLIGHT, EVENTS, MARKS, *(f"celesta:{SHARD}:{run}:{part}" for part in _PER_RUN)]


def meta(run: str) -> str:
    return f"celesta:{SHARD}:{run}:meta"


def ready(run: str) -> str:
    return f"celesta:{SHARD}:{run}:ready"


def states(run: str) -> str:
    return f"celesta:{SHARD}:{run}:st"


def reuse(run: str) -> str:
    """Hash path -> result of an earlier run that this one takes over."""
    return f"celesta:{SHARD}:{run}:reuse"


def outcomes(run: str) -> str:
    return f"celesta:{SHARD}:{run}:out"


def counts(run: str) -> str:
    return f"celesta:{SHARD}:{run}:cnt"


def limits(run: str) -> str:
    """Hash of the run's lanes: steps that have the same limits."""
    return f"celesta:{SHARD}:{run}:lim"


def cache(space: str) -> str:
    """Hash of key to entry: what the runs of a project share, or those of all of them (`ORGANISATION`)."""
    return index_key(space)


def flight(space: str, key: str) -> str:
    """Held by the one attempt that computes this cache key; everyone else waits for it."""
    return f"celesta:flight:{space}:{key}"


def waiters(space: str, key: str) -> str:
    """Set of `run|step` to be woken when the flight lands."""
    return f"celesta:waiting:{space}:{key}"


def member(run: str, node: str) -> str:
    return f"{run}|{node}"


def live_log(run: str, node: str, token: str) -> str:
    """Stream of a running attempt's log (field `d`)."""
    return f"celesta:log:{run}:{node}:{token}"


def live_metrics(run: str, node: str, token: str) -> str:
    """List of what a running attempt has measured so far, as JSON."""
    return f"celesta:metrics:{run}:{node}:{token}"


def pending(run: str, node: str, token: str) -> str:
    """Why an attempt that was launched has not begun, in words."""
    return f"celesta:pending:{run}:{node}:{token}"
