"""Completing what an `async def` task returns, for whoever calls a task's function.

Called by `celesta.tasks` for plain calls and by `celesta.runtime.call` in a step. Imports nothing of weight until there
is a coroutine: every step child pays for what is imported here.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

R = TypeVar("R")


def run_coroutine(coroutine: Coroutine[Any, Any, R]) -> R:
    """Runs a coroutine to its end; in a thread of its own where an event loop runs already, as in a notebook."""
    import asyncio  # 20 ms that a step without coroutines need not pay
    import threading

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    results: list[R] = []
    errors: list[BaseException] = []
    context = copy_context()

    def body() -> None:
        try:
            results.append(context.run(asyncio.run, coroutine))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
