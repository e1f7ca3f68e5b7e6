"""Result documents in the store, as the engine meets them: the durable truth of what an attempt came to.

Looked at before any step is started again. The answer has three forms: the document; None, certainly not there; and
`StoreError`, when the store cannot tell, and then nothing may be concluded.
"""

from collections.abc import Iterator
from typing import Any

from celesta.runtime.leave import read_result
from celesta.store.base import Store, result_key, step_prefix
from workers.engine.events import outcome_of
from workers.engine.views import View


def read(store: Store, view: View, node: str, token: str) -> dict[str, Any] | None:
    """The outcome of one attempt. Raises `StoreError`."""
    result = read_result(store, result_key(view.run, view.path(node), token))
    return None if result is None else outcome_of(result)


def latest(store: Store, view: View, node: str) -> dict[str, Any] | None:
    """The success of the highest attempt at a step, of whatever epoch. Raises `StoreError`."""
    best: tuple[list[int], dict[str, Any]] | None = None
    for result in successes(store, step_prefix(view.run, view.path(node), "0")[: -len("0/")]):
        order = order_of(str(result["token"]))
        if best is None or best[0] < order:
            best = (order, result)
    return best[1] if best else None


def successes(store: Store, prefix: str) -> Iterator[dict[str, Any]]:
    """The outcomes under a prefix that succeeded. Failures are tried again: their count is lost with Redis anyway."""
    for key in store.list(prefix):
        result = read_result(store, key) if key.endswith("/result.json") else None
        if result is not None and result.get("status") == "succeeded":
            yield outcome_of(result)


def order_of(token: str) -> list[int]:
    """How tokens are ordered: by epoch, then by attempt."""
    return [int(part) for part in token.split(".")]
