"""One step in a process of its own: enter, call, leave.

Called by a child of the zygote and by `python -m celesta.runtime`. Everything that happens to the user's code ends as
a result document; only a store that does not answer, or the death of the process, leaves none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from celesta.runtime import context as contexts
from celesta.runtime import enter, leave
from celesta.runtime.call import blank_result, call_step
from celesta.runtime.failures import error_document


def run_step(
    document: Mapping[str, Any],
    store: Any,
    *,
    log: int,
    into: str,
    root: str | None,
    secrets: Mapping[str, str],
    checkpoints: str,
    worker: str,
) -> bytes:
    """Runs the step in this process; the bytes of its result, which is in the store by then.

    Raises `StoreError` when the store does not take the result. Does not return in a fork that the step made.
    """
    from celesta.store.base import step_prefix

    context = contexts.StepContext(
        document["run"],
        document["path"],
        document["attempt"],
        idempotency_key=document["idempotency_key"],
        secrets=secrets,
        checkpoints=checkpoints,
    )
    contexts.own_process(context)
    for name, value in enter.variables(document).items():
        os.environ[name] = value
    me = os.getpid()
    result = _call(document, store, context, into, root, worker)
    if os.getpid() != me:
        os._exit(0)  # The step forked, and the copy came back as well: only the original may speak.
    leave.end_leftovers()
    leave.flush_output()
    data = leave.leave(result, context, store, step_prefix(document["run"], document["path"], document["token"]), log)
    if result["status"] == "succeeded":
        context.discard_checkpoint()
    return data


def _call(
    document: Mapping[str, Any], store: Any, context: contexts.StepContext, into: str, root: str | None, worker: str
) -> dict[str, Any]:
    def function() -> Any:
        return enter.load_function(document["entrypoint"], document["path"])

    try:
        return call_step(document, store, function=function, context=context, into=into, worker=worker, root=root)
    except KeyboardInterrupt as error:
        result = blank_result(document, worker)
        result["error"] = error_document(error, "user", root)
        return result
