"""The names of what the engine keeps in Redis and the control plane reads too. Their shapes are in the contracts.

Here, because imports point from `workers` to `app`; what the engine alone touches is named in `workers.engine.keys`. A
run, its deadlines and its events share one hash tag, so that one script may touch them on a cluster too.
"""

SHARD = "p0"
LIMITS = f"celesta:{{{SHARD}}}:limit"
"""Prefix of `:<project>`, a hash of the size of each of its limits; of `:<project>:@<name>`, the set of `run|step` that
use one; of `:<project>:line:@<name>,@<name>`, the runs that wait for a set of them, by since when; and of
`:<project>:lines`, the set of these lines."""
LOGS_WANTED = "celesta:logs-wanted"
"""Sorted set of live logs (`run|node|token`) that somebody looks at, by until when (seconds since the epoch)."""


def events(shard: str = SHARD) -> str:
    """Stream of a shard's events (field `e`)."""
    return f"celesta:{{{shard}}}:events"


def inflight(shard: str = SHARD) -> str:
    """Sorted set `run|step` by deadline: outbox, lease table, timers and active steps in one."""
    return f"celesta:{{{shard}}}:inflight"


def member(run: str, node: str) -> str:
    """A step in such a set."""
    return f"{run}|{node}"


def of_run(run: str, part: str) -> str:
    return f"celesta:{{{SHARD}}}:{run}:{part}"


def meta(run: str) -> str:
    return of_run(run, "meta")


def states(run: str) -> str:
    return of_run(run, "st")


def ready(run: str) -> str:
    """Sorted set of the steps of a run that could be sent, by their turn."""
    return of_run(run, "ready")


def counts(run: str) -> str:
    return of_run(run, "cnt")


def limits(run: str) -> str:
    """Hash of the run's lanes: steps that have the same limits."""
    return of_run(run, "lim")


def live_log(run: str, node: str, token: str) -> str:
    """Stream of a running attempt's log (field `d`)."""
    return f"celesta:log:{run}:{node}:{token}"


def live_metrics(run: str, node: str, token: str) -> str:
    """List of what a running attempt has measured so far, as JSON."""
    return f"celesta:metrics:{run}:{node}:{token}"


def pending(run: str, node: str, token: str) -> str:
    """Why an attempt that was launched has not begun, in words."""
    return f"celesta:pending:{run}:{node}:{token}"
