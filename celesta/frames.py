"""Whose line is it: finding the user's own frames among ours, for messages and tracebacks.

Called wherever an error has to point at the user's code: misused promises, wrong calls, files that do not import.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

_HERE = str(Path(__file__).parent) + os.sep
_OURS = (_HERE, contextlib.__file__)
_NOT_THEIRS = (_HERE, "<frozen importlib", importlib.__file__)
_BUNDLE = re.compile(r".*/bundles/[0-9a-f]{64}/")


def user_line() -> str:
    """`file:line` of the nearest frame that is not Celesta's: the line that the user has to look at."""
    frame = user_frame()
    return f"{shown_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def user_frame() -> FrameType:
    """The nearest frame that is not Celesta's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame


def place_of(function: Callable[..., Any]) -> str:
    """`file:line` where a function is defined."""
    code = getattr(function, "__code__", None)
    return f"{shown_path(code.co_filename)}:{code.co_firstlineno}" if code else "?"


@lru_cache(maxsize=1024)
def shown_path(filename: str) -> str:
    """A path as people know it: relative when it is below the current folder, or that of an unpacked code bundle."""
    if bundle := _BUNDLE.match(filename):
        return filename[bundle.end() :]
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def own_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of Celesta and of the import system."""
    whole = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    one: traceback.TracebackException | None = whole
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        kept = [frame for frame in one.stack if not frame.filename.startswith(_NOT_THEIRS)]
        one.stack = traceback.StackSummary.from_list(kept)
        one = one.__cause__ or one.__context__
    return "".join(whole.format()).rstrip()


def last_line(error: BaseException) -> str:
    """What an error says of itself: `ZeroDivisionError: division by zero`."""
    return traceback.format_exception_only(error)[-1].strip()
