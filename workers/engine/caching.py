"""The cache index and single-flight: asked before anything is sent, taken at the claim, written at the completion.

The keys are of `celesta.hashing`; the index is a hash per project, whose durable copy the recorder keeps. A lost index
entry costs one computation, never a wrong answer. A flight is a lease: whoever holds it computes, everyone else gives
back worker and slot and asks again when it lands.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis import Redis

from celesta.environment import environment_digest
from celesta.hashing import cache_components, cache_key
from workers.engine import keys
from workers.engine.bindings import Ref
from workers.engine.scripts import SCRIPTS
from workers.engine.settling import Finding
from workers.engine.views import View

Hit = dict[str, Any]

WAITING_SECONDS = 60


def find(view: View, node: str, inputs: Mapping[str, Ref]) -> Finding:
    """The input digests of a step, and its cache key when its author wants it cached."""
    digests = {name: str(ref["digest"]) for name, ref in inputs.items()}
    if not view.caches(node):
        return Finding(digests)
    step = view.step(node)
    components = cache_components(view.task(node), inputs, environment_of(step), step)
    return Finding(digests, cache_key(components), components)


def environment_of(step: Mapping[str, Any]) -> str | None:
    """What tells one environment from another, when the step asks; without an image it runs in the worker's own."""
    if not step["cache"].get("environment"):
        return None
    return step.get("image") or environment_digest()


def lookup(client: Redis, view: View, wanted: Sequence[str]) -> list[Hit | None]:
    """What the index knows under these keys, in one round trip."""
    if not wanted:
        return []
    found = client.hmget(keys.cache(view.project), list(wanted))
    return [None if text is None else json.loads(text) for text in found]


def fresh(view: View, node: str, hit: Hit | None, now_ms: int) -> Hit | None:
    """The hit, unless the task's author gave results a lifetime and this one has passed it."""
    ttl = (view.step(node).get("cache") or {}).get("ttl_seconds")
    if hit is None or ttl is None:
        return hit
    return hit if hit.get("at_ms", 0) + ttl * 1000 > now_ms else None


def record(view: View, node: str, token: str, outputs: Mapping[str, Ref], at_ms: int) -> str:
    """The index entry of an accepted result."""
    path = view.path(node)
    entry = {"run": view.run, "path": path, "node": node, "token": token, "outputs": outputs, "at_ms": at_ms}
    return json.dumps(entry)


def source_of(hit: Hit) -> dict[str, Any]:
    return {name: hit.get(name) for name in ("run", "path", "node", "token")}


def take(client: Redis, view: View, key: str, owner: str, ms: int) -> tuple[Hit | None, bool]:
    """One round trip: the hit that came meanwhile, and whether the flight is now the caller's."""
    pipe = client.pipeline(transaction=False)
    pipe.set(keys.flight(view.project, key), owner, nx=True, px=ms)
    pipe.hget(keys.cache(view.project), key)
    taken, text = pipe.execute()
    return (None if text is None else json.loads(text)), bool(taken)


def wait(client: Redis, view: View, key: str, node: str) -> None:
    """Asks to be woken when the flight lands."""
    name = keys.waiters(view.project, key)
    pipe = client.pipeline(transaction=False)
    pipe.sadd(name, keys.member(view.run, node))
    pipe.expire(name, WAITING_SECONDS)
    pipe.execute()


def renew(client: Redis, view: View, flights: Iterable[tuple[str, str]], ms: int) -> None:
    """Prolongs flights (key, owner) that are still their owners'."""
    for key, owner in flights:
        SCRIPTS["flight"](client, [keys.flight(view.project, key)], owner, ms)


def land(client: Redis, view: View, flights: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """Ends flights (key to owner and index entry): writes what was computed, lets go, and answers who waited.

    The entry is there before the flight is gone, so that a waiter who comes in between finds the one or the other.
    """
    if not flights:
        return []
    pipe = client.pipeline(transaction=False)
    for key, (_, entry) in flights.items():
        if entry is not None:
            pipe.hset(keys.cache(view.project), key, entry)
    for key, (owner, _) in flights.items():
        names = [keys.flight(view.project, key)]
        pipe.eval(SCRIPTS["flight"].text, 1, *names, owner)
        pipe.smembers(keys.waiters(view.project, key))
        pipe.delete(keys.waiters(view.project, key))
    replies = pipe.execute()[-3 * len(flights) :]
    return [name.decode() for waiting in replies[1::3] for name in waiting]
