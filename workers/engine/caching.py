"""The cache index and single-flight: asked before anything is sent, taken at the claim, written at the completion.

The keys are of `celesta.hashing`; the index is a hash per project, and one that all projects share, whose durable copy
the recorder keeps. A lost index entry costs one computation, never a wrong answer. A flight is a lease: whoever holds
it computes, everyone else gives back worker and slot and asks again when it lands.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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


class Slot(NamedTuple):
    """Where an entry is: the project, or all of them (`keys.ORGANISATION`), that share it, and its key."""

    space: str
    key: str


def slot_of(view: View, node: str, key: str) -> Slot:
    return Slot(keys.ORGANISATION if view.shares(node) else view.project, key)


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


def lookup(client: Redis, wanted: Sequence[Slot]) -> list[Hit | None]:
    """What the index knows of these, in one round trip."""
    if not wanted:
        return []
    spaces: dict[str, list[str]] = {}
    for space, key in wanted:
        spaces.setdefault(space, []).append(key)
    asked = [(keys.cache(space), asked) for space, asked in spaces.items()]
    if len(asked) == 1:
        answers = [client.hmget(*asked[0])]
    else:
        pipe = client.pipeline(transaction=False)
        for name, of_space in asked:
            pipe.hmget(name, of_space)
        answers = pipe.execute()
    texts = {space: iter(answer) for space, answer in zip(spaces, answers, strict=True)}
    return [None if (text := next(texts[space])) is None else json.loads(text) for space, _ in wanted]


def fresh(view: View, node: str, hit: Hit | None, now_ms: int) -> Hit | None:
    """The hit, unless the task's author gave results a lifetime and this one has passed it."""
    ttl = (view.step(node).get("cache") or {}).get("ttl_seconds")
    if hit is None or ttl is None:
        return hit
    return hit if hit.get("at_ms", 0) + ttl * 1000 > now_ms else None


def put(client: Redis, slot: Slot, entry: str) -> None:
    """Puts a result into the index, unless one for its key is there."""
    client.hsetnx(keys.cache(slot.space), slot.key, entry)


def drop(client: Redis, slots: Sequence[Slot]) -> None:
    """Takes entries out whose bytes are gone. One that somebody computed anew meanwhile is computed once more."""
    pipe = client.pipeline(transaction=False)
    for space, key in slots:
        pipe.hdel(keys.cache(space), key)
    pipe.execute()


def record(view: View, node: str, token: str, outputs: Mapping[str, Ref], at_ms: int) -> str:
    """The index entry of an accepted result."""
    path = view.path(node)
    entry = {"run": view.run, "path": path, "node": node, "token": token, "outputs": outputs, "at_ms": at_ms}
    return json.dumps(entry | {"project": view.project} if view.shares(node) else entry)


def source_of(hit: Hit) -> dict[str, Any]:
    """Who made an entry: run, path, node, token, and the project where it may be another."""
    return {name: hit[name] for name in ("run", "path", "node", "token", "project") if name in hit}


class Flight(NamedTuple):
    """One attempt's lease on a key, of so many milliseconds."""

    slot: Slot
    owner: str
    ms: int


class Taken(NamedTuple):
    """The hit that came meanwhile, and whether the flight is now the caller's."""

    hit: Hit | None
    mine: bool


def take(client: Redis, flights: Sequence[Flight]) -> list[Taken]:
    """Begins flights, unless they are others'. One round trip."""
    pipe = client.pipeline(transaction=False)
    for flight in flights:
        _take(pipe, flight)
    replies = iter(pipe.execute())
    return [_taken(mine, text) for mine, text in zip(replies, replies, strict=True)]


def _take(pipe: Any, flight: Flight) -> None:
    pipe.set(keys.flight(*flight.slot), flight.owner, nx=True, px=flight.ms)
    pipe.hget(keys.cache(flight.slot.space), flight.slot.key)


def _taken(mine: Any, text: bytes | None) -> Taken:
    return Taken(None if text is None else json.loads(text), bool(mine))


def wait(client: Redis, view: View, slot: Slot, node: str) -> None:
    """Asks to be woken when the flight lands."""
    name = keys.waiters(*slot)
    pipe = client.pipeline(transaction=False)
    pipe.sadd(name, keys.member(view.run, node))
    pipe.expire(name, WAITING_SECONDS)
    pipe.execute()


def renew(client: Redis, flights: Iterable[tuple[Slot, str]], ms: int) -> None:
    """Prolongs flights (slot, owner) that are still their owners'."""
    for slot, owner in flights:
        SCRIPTS["flight"](client, [keys.flight(*slot)], owner, ms)


def land(
    client: Redis, flights: Mapping[Slot, tuple[str, str | None]], following: Flight | None = None
) -> tuple[list[str], Taken | None]:
    """Ends flights (slot to owner and index entry): writes what was computed, lets go, and answers who else waited.

    The entry is there before the flight is gone, so that a waiter who comes in between finds the one or the other.
    A flight that is to begin next begins in the same round trip.
    """
    pipe = client.pipeline(transaction=False)
    for (space, key), (_, entry) in flights.items():
        if entry is not None:
            pipe.hset(keys.cache(space), key, entry)
    for slot, (owner, _) in flights.items():
        pipe.eval(SCRIPTS["flight"].text, 1, keys.flight(*slot), owner)
        pipe.smembers(keys.waiters(*slot))
        pipe.delete(keys.waiters(*slot))
    if following is not None:
        _take(pipe, following)
    replies = pipe.execute()
    taken = None if following is None else _taken(replies.pop(-2), replies.pop())
    landed = replies[-3 * len(flights) :]
    owners = {owner.rpartition("|")[0] for owner, _ in flights.values()}
    names = [name.decode() for waiting in landed[1::3] for name in waiting]
    return [name for name in names if name not in owners], taken
