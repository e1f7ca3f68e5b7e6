"""One step in a process of its own: enter, call, leave.

`perform_step` is called by a child of the zygote, whose client keeps the answer; `run_step` by `python -m
celesta.runtime`, which keeps it itself. Everything that happens to the user's code ends as a result document; only a
store that does not answer, or the death of the process, leaves none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from celesta.runtime import context as contexts
from celesta.runtime import enter, leave
from celesta.runtime.call import blank_result, call_step
from celesta.runtime.failures import error_document
from celesta.runtime.live import Metrics
from celesta.runtime.masking import mask_of


def perform_step(
    document: Mapping[str, Any],
    store: Any,
    *,
    log: int,
    into: str,
    root: str | None,
    secrets: Mapping[str, str],
    checkpoints: str,
    worker: str,
) -> leave.Answer:
    """Runs the step in this process, and ends what it left behind; what it has to say, for `leave.keep`.

    Does not return in a fork that the step made.
    """
    context = contexts.StepContext(
        document["run"],
        document["path"],
        document["attempt"],
        idempotency_key=document["idempotency_key"],
        secrets=secrets,
        checkpoints=checkpoints,
        token=document["token"],
        on_metric=Metrics(),
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
    return leave.answer_of(result, context, log)


def run_step(document: Mapping[str, Any], store: Any, *, log: int, **surroundings: Any) -> leave.Document:
    """Runs the step in this process (as `perform_step`), and keeps its answer; the result document that counts.

    Raises `StoreError` when the store does not take it.
    """
    answer = perform_step(document, store, log=log, **surroundings)
    return leave.keep(answer, document, store, log, mask_of(surroundings["secrets"]))


def _call(
    document: Mapping[str, Any], store: Any, context: contexts.StepContext, into: str, root: str | None, worker: str
) -> dict[str, Any]:
    def function() -> Any:
        return enter.load_function(document["entrypoint"], document["path"])

    try:
        return call_step(document, store, function=function, context=context, into=into, worker=worker, root=root)
    except KeyboardInterrupt as error:
        result = blank_result(document, worker)
        result["error"] = error_document(error, "user", root, context.mask)
        return result
