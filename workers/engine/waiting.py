"""Steps that wait without a worker: how one is parked, and what its step becomes of an answer or of the time.

The cascade parks a step whose upstreams are there; the start task and the reconciler bring answers, which are committed
in the database first, and whose deadline has passed is told by its place in flight. Refuses to decide who may answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celesta.codecs import to_plain
from celesta.runtime.failures import plain_error
from celesta.tokens import order_of
from celesta.units import sleep_seconds
from workers.engine import events, settling
from workers.engine.bindings import Ref
from workers.engine.core import Engine
from workers.engine.settling import Entry, Finding
from workers.engine.views import View

LOOK_MS = 3_600_000
"""A question without a timeout is in flight like any other: it is looked at this often, and waits on."""


@dataclass(frozen=True)
class Answer:
    """What somebody said; `value` is None when nobody did in time."""

    value: Ref | None
    by: str
    note: str


@dataclass(frozen=True)
class Tried:
    """The attempts at a step that has not ended, as far as they are recorded."""

    token: str
    """Of the last one."""
    over: bool
    """It has failed, or was lost, and the next one waits."""
    used: Mapping[str, int]
    """How much of which budget of retries is spent."""
    until_ms: int = 0
    """When the next one may begin, if this one is over."""


@dataclass(frozen=True)
class Waits:
    """What the database knows of the steps of a run that have not ended, by node: their answers, until when they wait,
    and how often they were tried."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    until_ms: Mapping[str, int] = field(default_factory=dict)
    tried: Mapping[str, Tried] = field(default_factory=dict)

    def hold(self, view: View, node: str) -> dict[str, Any]:
        """For `advance.lua`: with what a step of a rebuilt run is held until its last attempt has had time to speak."""
        known = self.tried.get(node)
        if known is None:
            return {"token": f"{view.epoch}.0", "used": ""}
        token = known.token if known.over else f"{view.epoch}.{order_of(known.token)[1]}"
        used = "".join(f"{kind}:{number};" for kind, number in known.used.items())
        return {"token": token, "used": used} | ({"at": known.until_ms} if known.over else {})


def park(engine: Engine, view: View, node: str, inputs: Mapping[str, Ref], until_ms: int | None) -> dict[str, Any]:
    """The entry of a step that is to wait: for its time, or for an answer and until its timeout.

    Raises `InputError` for a time that is none.
    """
    kind, step = str(view.waits(node)), view.step(node)
    facts: dict[str, Any] = {}
    if kind == "sleep":
        seconds: float | None = sleep_seconds(to_plain(inputs["seconds"], engine.store))
    else:
        seconds = step.get("timeout_seconds")
        message = inputs.get("message")
        told = "" if message is None else str(to_plain(message, engine.store))
        wanted = view.task(node)["interface"]["outputs"][0]["type"]
        facts = {"message": told[: events.MESSAGE_CHARACTERS], "role": step["answer"]["role"], "type": wanted}
    event = events.parked(view, node, kind, **facts)
    parked = {"e": event, "ms": LOOK_MS if seconds is None else math.ceil(seconds * 1000), "ends": seconds is not None}
    if until_ms is not None:
        parked["until"] = until_ms
    return {"n": node, "need": settling.need_of(view, node), "park": parked}


def slept(view: View, node: str) -> Entry:
    """The entry of a sleep that is over."""
    return settling.in_place(view, node, "succeeded", outputs={})


def answered(view: View, node: str, answer: Answer) -> tuple[Entry, dict[str, Ref] | None]:
    """The entry of a question, and its outputs when it has any: a no may be a failure, and so is no answer."""
    options = view.step(node)["answer"]
    value = answer.value if answer.value is not None else options["default"]
    if value is None:
        return _failed(view, node, "Timeout", "nobody answered in time", "timeout"), None
    if options["required"] and value.get("inline") is False:
        said = f": {answer.note}" if answer.note else ""
        by = f"{answer.by} said no" if answer.by else "nobody answered in time, which counts as a no"
        return _failed(view, node, "Refused", f"{by}{said}", "user"), None
    outputs = {"result": dict(value)}
    return settling.in_place(view, node, "succeeded", outputs=outputs, finding=Finding({})), outputs


def _failed(view: View, node: str, type_: str, message: str, kind: str) -> Entry:
    return settling.in_place(view, node, "failed", error=plain_error(type_, message, kind))
