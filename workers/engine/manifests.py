"""Result documents in the store, as the engine meets them: the durable truth of what an attempt came to.

Looked at before any step is started again. The answer has three forms: the document; None, certainly not there; and
`StoreError`, when the store cannot tell, and then nothing may be concluded. A step can write a result of its own: what
is none of its attempt is a failure of that step, wherever it is met.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from app.services.step_result import check_result
from celesta.errors import InputError
from celesta.runtime.failures import plain_error
from celesta.runtime.leave import read_result
from celesta.store.base import Store, result_key, step_prefix
from celesta.tokens import is_token, order_of
from workers.engine import settling
from workers.engine.events import MESSAGE_CHARACTERS, outcome_of
from workers.engine.views import View


def read(store: Store, view: View, node: str, token: str) -> dict[str, Any] | None:
    """The outcome of one attempt. Raises `StoreError`."""
    result = read_result(store, result_key(view.run, view.path(node), token))
    return None if result is None else accepted(view, node, token, result)


def accepted(view: View, node: str, token: str, result: Any) -> dict[str, Any]:
    """What an attempt came to by its result document, cut to what goes through Redis and events; its failure, when
    that is no result of this attempt."""
    try:
        return outcome_of(check_result(result, _attempt(view, node, token)))
    except InputError as error:
        return settling.failure(plain_error("InvalidResult", str(error)[:MESSAGE_CHARACTERS], "user"))


def is_result(view: View, node: str, token: str, outcome: dict[str, Any]) -> bool:
    """Whether this can be the outcome of the attempt: of one that was found by its place in the store."""
    try:
        check_result(outcome, _attempt(view, node, token))
    except InputError:
        return False
    return True


def latest(store: Store, view: View, node: str) -> dict[str, Any] | None:
    """The success of the highest attempt at a step, of whatever epoch. Raises `StoreError`."""
    best: tuple[tuple[int, int], dict[str, Any]] | None = None
    for result in successes(store, step_prefix(view.run, view.path(node), "0")[: -len("0/")]):
        token = result["token"]
        order = order_of(token)
        if (best is None or best[0] < order) and is_result(view, node, token, result):
            best = (order, result)
    return best[1] if best else None


def successes(store: Store, prefix: str) -> Iterator[dict[str, Any]]:
    """The results under a prefix that say of themselves that they succeeded, and at what: the right place for them.

    Failures are tried again: how often is in the record.
    """
    for key in store.list(prefix):
        result = read_result(store, key) if key.endswith("/result.json") else None
        with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
            if result is not None and result["status"] == "succeeded" and key == _key_in(result):
                yield outcome_of(result)


def _attempt(view: View, node: str, token: str) -> dict[str, Any]:
    """As much of the step document as a result has to agree with."""
    task = view.task(node)
    known = {"run": view.run, "path": view.path(node), "node": node, "token": token}
    return known | {"kind": task["kind"], "interface": task["interface"]}


def _key_in(result: dict[str, Any]) -> str | None:
    """The key of the result by what it says of itself."""
    match result:
        case {"run": str(run), "path": str(path), "node": str(), "token": str(token)} if is_token(token):
            return result_key(run, path, token)
    return None
