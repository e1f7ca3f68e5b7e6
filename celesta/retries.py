"""Whether a failed attempt is followed by another, and when: the reading of a step's `retry` option.

Pure. The engine (`workers.engine.settling`) and local runs (`celesta.local.steps`) ask here, so that both mean the same
by a policy. Each kind of failure has a budget of its own; one that is used up ends the step.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

SYSTEM_RETRIES = 3
"""Attempts that are repaired before the step fails, when its author says nothing else."""
LONGEST_SECONDS = 86_400.0


class Budget(NamedTuple):
    """Which budget a failure is taken from (`user, system, timeout, out_of_memory`), and what it holds."""

    kind: str
    most: int


def budget(policy: Mapping[str, Any] | None, error: Mapping[str, Any]) -> Budget:
    """The budget for failures of this kind. A policy that names exceptions (`on`) has none for others."""
    policy, kind = policy or {}, str(error.get("kind") or "user")
    most = int(policy.get("max", 0))
    if kind == "system":
        return Budget(kind, int(policy.get("system", SYSTEM_RETRIES)))
    if kind != "user":
        given = policy.get(kind)
        return Budget(kind, most if given is None else int(given))
    named = policy.get("on")
    meant = named is None or bool({error.get("type"), *(error.get("bases") or ())} & set(named))
    return Budget(kind, most if meant else 0)


def wait_seconds(policy: Mapping[str, Any] | None, kind: str, used: int) -> float:
    """How long to wait before the next attempt, when `used` of this budget are spent: without the random part."""
    policy = policy or {}
    if kind == "system":
        return 0.0
    try:
        wait = float(policy.get("backoff_seconds", 1.0)) * float(policy.get("factor", 2.0)) ** used
    except OverflowError:
        return LONGEST_SECONDS
    return min(wait, LONGEST_SECONDS)


def spread(policy: Mapping[str, Any] | None) -> float:
    """By what a wait is multiplied, drawn anew each time: many that failed together do not come back together."""
    return 1.0 + random.random() * float((policy or {}).get("jitter", 0.0))  # noqa: S311


def memory_bytes(policy: Mapping[str, Any] | None, asked: int | None, ran_out: int) -> int | None:
    """What an attempt may use after `ran_out` that ran out of memory."""
    return None if asked is None else int(asked * float((policy or {}).get("memory_factor", 1.0)) ** ran_out)
