"""The events of the contracts' section 10, as texts without their end: the script adds time, epoch and what it decided.

Whoever settles, claims or opens a step asks here for the event; the scripts append it, so that no transition is without
one. Cuts what people wrote to the lengths that an outcome may have.
"""

import json
from typing import Any

from celesta.tokens import number_of
from workers.engine.views import View

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

TRACEBACK_CHARACTERS = 4_000
MESSAGE_CHARACTERS = 2_000
METRICS = 200
"""Measurements of a step that go through Redis into the record; the result document in the store has them all."""


def outcome_of(result: dict[str, Any]) -> dict[str, Any]:
    """A result document, cut to what goes through Redis and events."""
    error = result.get("error")
    if error is not None:
        error = error | {
            "message": str(error.get("message") or "")[:MESSAGE_CHARACTERS],
            "traceback": str(error.get("traceback") or "")[-TRACEBACK_CHARACTERS:],
        }
    return result | {"error": error, "metrics": _thinned(result.get("metrics") or [])}


def _thinned(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a long training every so many values of each name, and always the last, by which it is judged."""
    if len(metrics) <= METRICS:
        return metrics
    places: dict[str, list[int]] = {}
    for place, metric in enumerate(metrics):
        places.setdefault(metric["name"], []).append(place)
    most = max(1, METRICS // len(places) - 1)
    kept = {place for own in places.values() for place in [*own[:: -(-len(own) // most)], own[-1]]}
    return [metrics[place] for place in sorted(kept)][-METRICS:]


def run_started(run: str, project: str, known: int) -> str:
    return _open({"kind": "run.started", "run": run, "project": project, "known": known})


def running(view: View, node: str, attempt: int, worker: str) -> str:
    """`token` is added by the claim, which knows the epoch."""
    return _of(view, "step.running", node, attempt=attempt, worker=worker)


def settled(view: View, node: str, token: str | None, outcome: dict[str, Any] | None, **more: Any) -> str:
    """`state` is added by the script: a failure while the run is being cancelled counts as cancelled."""
    attempt = number_of(token) if token else 0
    facts = {"cache_key": None, "components": None, "source": None, "input_digests": None} | more
    return _of(view, "step.settled", node, token=token, attempt=attempt, outcome=outcome, **facts)


def retry(view: View, node: str, token: str, reason: str, error: dict[str, Any] | None) -> str:
    """`next_attempt` and `at_or_after_ms` are added by the script."""
    return _of(view, "step.retry", node, token=token, reason=reason, error=error)


def dynamic_opened(view: View, node: str, token: str, width: int, plan: str) -> str:
    """`known` is added by the script. `plan` is the digest of the plan that the step opened."""
    return _of(view, "dynamic.opened", node, token=token, attempt=number_of(token), width=width, plan=plan)


def map_opened(view: View, node: str, width: int) -> str:
    return _of(view, "map.opened", node, width=width)


def parked(view: View, node: str, waits_for: str, **facts: Any) -> str:
    """`until_ms` is added by the script: the moment at which a sleep ends or a question times out, or null."""
    return _of(view, "step.parked", node, waits_for=waits_for, **facts)


def run_finished(
    view: View, status: str, outputs: dict[str, Any], error: dict[str, Any] | None, counts: dict[str, int]
) -> str:
    return _open(
        {
            "kind": "run.finished",
            "run": view.run,
            "project": view.project,
            "status": status,
            "outputs": outputs,
            "error": error,
            "counts": counts,
        }
    )


def _of(view: View, kind: str, node: str, **facts: Any) -> str:
    head = {"kind": kind, "run": view.run, "project": view.project, "node": node, "path": view.path(node)}
    if "/" in node:  # the recorder knows the run's own plan only
        head["task"] = view.task(node)["name"]
    return _open(head | facts)


def _open(event: dict[str, Any]) -> str:
    return _encode(event)[:-1]
