"""The token of an attempt, like `1.2`: the epoch of its run, and its number among the attempts at its step.

Whoever orders attempts or reads their numbers asks here: the runtime, the engine and the record. Other tokens are those
of `app.access`.
"""

import re

FIRST_TOKEN = "1.1"  # noqa: S105 - of an attempt
_FORM = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


def is_token(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def order_of(token: str) -> tuple[int, int]:
    """How tokens are ordered: by epoch, then by attempt."""
    epoch, _, attempt = token.partition(".")
    return int(epoch), int(attempt)


def number_of(token: str) -> int:
    """Which attempt it is, in its epoch."""
    return order_of(token)[1]
