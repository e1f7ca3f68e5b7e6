"""Error documents: what the run shows of an exception that ended a step.

Owns how an exception becomes `{"type", "message", "traceback", "kind", "bases"}`. Our own frames are cut off, so that a
traceback begins in the user's code; paths inside the code bundle are shown relative to it.
"""

import os
import traceback
from types import TracebackType
from typing import Any

from celesta.errors import CelestaError
from celesta.runtime.masking import Mask

MESSAGE_CHARACTERS = 50_000
TRACEBACK_CHARACTERS = 200_000
MAX_BASES = 20

_CELESTA = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_ASYNCIO = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep
_IMPORTLIB = os.path.join(os.path.dirname(os.__file__), "importlib") + os.sep
_OURS = (_CELESTA, _ASYNCIO, _IMPORTLIB, "<frozen importlib")


def error_document(
    error: BaseException, kind: str, root: str | None = None, mask: Mask | None = None
) -> dict[str, Any]:
    """The error document of an exception; `root` is the folder of the code bundle, `mask` hides the step's secrets."""
    if isinstance(error, MemoryError):
        kind = "out_of_memory"
    message, trace = _message(error), _traceback(error, root)
    if mask is not None:  # Before they are cut, which could leave half of a secret.
        message, trace = mask.text(message), mask.text(trace)
    return {
        "type": type(error).__name__,
        "message": message[:MESSAGE_CHARACTERS],
        "traceback": trace[-TRACEBACK_CHARACTERS:],
        "kind": kind,
        "bases": [base.__name__ for base in type(error).__mro__[1:-1]][:MAX_BASES],
    }


def kind_of(error: BaseException) -> str:
    """Whose move it is, for what failed in our own hands: reading inputs, storing outputs."""
    if isinstance(error, CelestaError):
        return error.kind
    return "system" if isinstance(error, OSError) else "user"


def plain_error(type_: str, message: str, kind: str, trace: str = "") -> dict[str, Any]:
    """An error document where there is no exception."""
    return {"type": type_, "message": message, "traceback": trace, "kind": kind}


def told_error(error: CelestaError) -> dict[str, Any]:
    """The error document of one of our own errors, whose message says all."""
    return plain_error(type(error).__name__, str(error), error.kind)


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the step called sys.exit({error.code!r}) instead of returning; return a value, or raise an error"
    try:
        return str(error) or ("the step ran out of memory" if isinstance(error, MemoryError) else "")
    except Exception as broken:
        return f"(its message cannot be shown: {type(broken).__name__})"


def _traceback(error: BaseException, root: str | None) -> str:
    whole = traceback.TracebackException(type(error), error, _users_frames(error.__traceback__))
    if isinstance(
        error, CelestaError
    ):  # It says itself what is wrong with the user's line; how we saw it helps nobody.
        theirs = [frame for frame in whole.stack if not frame.filename.startswith(_CELESTA)]
        whole.stack = traceback.StackSummary.from_list(theirs)
    try:
        text = "".join(whole.format())
    except Exception:  # A user's exception may break its own formatting; the type still tells something.
        text = f"{type(error).__name__}\n"
    return text.replace(root.rstrip(os.sep) + os.sep, "") if root else text


def _users_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return frames
