"""Entries of `advance.lua`: what is to be written when a step settles, from what its attempt or the cascade says.

Pure. The script decides whether an entry is accepted; here stands everything that follows from the plan: who its
children are, how it is counted, whether it may be tried again, which event tells of it.
"""

import json
from dataclasses import dataclass
from typing import Any

from celesta import retries
from workers.engine import events
from workers.engine.views import View, counted_into, index_of, map_of

Entry = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What the cascade or the claim found out about a step: its inputs' digests, and its key when it is cached."""

    input_digests: dict[str, str]
    key: str | None = None
    components: dict[str, Any] | None = None


@dataclass(frozen=True)
class Ended:
    """One attempt that ended: what the hook, the `finish` task and the reconciler hand to `complete`."""

    node: str
    token: str
    outcome: dict[str, Any]
    finding: Finding | None = None
    source: dict[str, Any] | None = None
    """The attempt did not run: this entry of the cache came while it waited for its turn."""
    cancelled: bool = False
    overdue: bool = False
    """Accept only while the attempt's lease is past: the reconciler's word against a live worker's."""

    @property
    def state(self) -> str:
        if self.cancelled:
            return "cancelled"
        return "cached" if self.source is not None else str(self.outcome["status"])


@dataclass(frozen=True)
class Adopted:
    """A result of an earlier epoch that a rebuild takes over (with its token, or a hit with its source), or one of an
    earlier run."""

    state: str
    token: str | None
    outcome: dict[str, Any]
    source: dict[str, Any] | None = None
    key: str | None = None
    unchecked: bool = False
    """It lay in the store, where any step may write: whether it is a result of this step is still to be seen."""
    opens: bool = True
    """Whether its attempt may have opened a plan. Where the record says that it opened none, it failed by that."""


def attempt(view: View, ended: Ended) -> Entry:
    """The entry of an attempt that ran, failed, was lost or was cancelled."""
    node, outcome, state = ended.node, ended.outcome, ended.state
    entry = _entry(view, node, state, _event(view, ended))
    entry["t"] = ended.token
    if ended.overdue:
        entry["due"] = True
    if state in ("succeeded", "cached"):
        entry["o"] = json.dumps(outcome["outputs"])
    if state == "failed":
        entry["x"] = _error_text(view, node, outcome["error"])
        entry["retry"] = _retry(view, node, ended.token, outcome["error"])
    return entry


def in_place(
    view: View,
    node: str,
    state: str,
    *,
    outputs: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    finding: Finding | None = None,
    source: dict[str, Any] | None = None,
    gathered: bool = False,
) -> Entry:
    """The entry of a step that settles without an attempt: a hit, a gather, or one that will never run.

    A map that was `gathered` is not counted, since its items were.
    """
    outcome: dict[str, Any] | None = None
    if state in ("succeeded", "cached", "failed"):
        status = "failed" if state == "failed" else "succeeded"
        outcome = {"status": status, "outputs": outputs or {}, "error": error, "metrics": []}
    facts = {"source": source, **_facts(view, node, finding)}
    taken = outputs["result"]["inline"] if outputs and view.in_place(node) == "branch" else None
    entry = _entry(view, node, state, events.settled(view, node, None, outcome, **facts), taken)
    if gathered:
        entry["c"] = ""
    if outputs is not None:
        entry["o"] = json.dumps(outputs)
    if error is not None:
        entry["x"] = _error_text(view, node, error)
    return entry


def adopted(view: View, node: str, token: str, outcome: dict[str, Any], finding: Finding | None = None) -> Entry:
    """The entry of a result that is there already: of an earlier epoch, or of the attempt that opened a plan."""
    entry = attempt(view, Ended(node, token, outcome, finding))
    entry.pop("retry", None)
    del entry["t"]
    entry["k"] = token
    return entry


def need_of(view: View, node: str) -> dict[str, Any]:
    """The rule under which a waiting step may begin."""
    need = 0 if map_of(node) else view.frame(node).plan.need[index_of(node)]
    whole = counted_into(node)
    return {"map": whole} if whole and need == 0 else {"node": node, "parents": need}


def failure(error: dict[str, Any]) -> dict[str, Any]:
    """An outcome without a result document: the step never came to its end."""
    return {"status": "failed", "outputs": {}, "error": error, "metrics": []}


def _entry(view: View, node: str, state: str, event: str, taken: bool | None = None) -> Entry:
    whole = counted_into(node)
    entry: Entry = {"n": node, "s": state, "e": event, "c": _counter(view, node, state), "need": need_of(view, node)}
    entry["kids"] = view.children(node, taken)
    if state == "failed" and view.may_fail(node):
        entry["soft"] = True
    elif state == "failed" and view.plan.fail_fast and "on_failure" not in view.step(node):
        entry["stop"] = True
    if whole:
        entry["g"] = whole
    return entry


def _counter(view: View, node: str, state: str) -> str:
    """Items of a map are counted singly; the map itself only when it never opened, a branch only when it failed."""
    if state != "failed" and view.in_place(node) is not None:
        return ""
    if state == "succeeded" and view.mapped(node) is not None:
        return ""
    return "skipped" if state == "upstream_failed" else state


def _event(view: View, ended: Ended) -> str:
    outcome = None if ended.cancelled else ended.outcome
    facts = {"source": ended.source, **_facts(view, ended.node, ended.finding)}
    return events.settled(view, ended.node, ended.token, outcome, **facts)


def _facts(view: View, node: str, finding: Finding | None) -> dict[str, Any]:
    if finding is None:
        return {}
    shared = {"scope": "organisation"} if finding.key and view.shares(node) else {}
    facts = {"cache_key": finding.key, "components": finding.components, "input_digests": finding.input_digests}
    return facts | shared


def _error_text(view: View, node: str, error: dict[str, Any]) -> str:
    told = {name: error.get(name) for name in ("type", "message", "kind")}
    return json.dumps({"path": view.path(node), **told})


def _retry(view: View, node: str, token: str, error: dict[str, Any]) -> dict[str, Any]:
    policy = view.step(node).get("retry")
    kind, most = retries.budget(policy, error)
    reason = "lost" if error.get("type") == "Lost" else kind
    return {
        "kind": kind,
        "max": most,
        "delay_ms": retries.wait_seconds(policy, kind, 0) * retries.spread(policy) * 1000,
        "factor": (policy or {}).get("factor", 2.0),
        "longest_ms": retries.LONGEST_SECONDS * 1000,
        "e": events.retry(view, node, token, reason, error),
    }
