"""Steps that wait and keep no worker: `approve` for a person's yes or no, `wait_for` for a value, `sleep` for a time.

Called while a workflow is traced, each is a step; the engine parks it with a deadline and goes on when the answer or
the time has come. Called anywhere else, `sleep` sleeps and the other two ask at the terminal. Refuses what nobody could
answer: a type without plain values, a role that does not exist.
"""

from __future__ import annotations

import datetime as dt
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from celesta.answers import Answers
from celesta.blobs import MemoryBlobs
from celesta.codecs import encode
from celesta.errors import CodecError, Problem, SpecError
from celesta.frames import user_line
from celesta.graph import current_trace
from celesta.hashing import digest_of
from celesta.interface import Interface, Parameter
from celesta.promises import Promise
from celesta.spec.options import ANSWER_ROLES
from celesta.tasks import Task, checked_name
from celesta.types import TypeDoc, check, spell, type_of
from celesta.units import MOST_SLEEP_SECONDS, parse_seconds

_TEXT: TypeDoc = {"kind": "str"}
_BOOL: TypeDoc = {"kind": "bool"}


class Wait(Task[..., Any]):
    """A task whose kind says what its step waits for; it has no code of the user's."""

    def __init__(self, kind: str, name: str, interface: Interface, overrides: Mapping[str, Any], after: Any) -> None:
        self.kind = kind
        self._set_up(_OF_KIND[kind], name, interface, {})
        self.overrides = dict(overrides)
        self.after = after if isinstance(after, list | tuple) else [after]

    def program(self) -> dict[str, Any]:
        """What runs: nothing. The kind is all that there is to know, in every version of Celesta."""
        digest = digest_of(self.kind.encode())
        told = {"entrypoint": f"celesta.waits:{self.kind}", "code_digest": digest, "doc": "", "source": ""}
        return {"kind": self.kind, **told}


def approve(
    message: str,
    *,
    timeout: float | str | dt.timedelta | None = None,
    default: bool | None = None,
    required: bool = False,
    role: str = "editor",
    name: str | None = None,
    after: Any = (),
) -> bool:
    """A step that asks somebody for a yes or a no; its output is that `bool`.

    With `required` a no fails the step, so that what comes after it does not run. When nobody has answered after
    `timeout`, the answer is `default`, and without one the step fails. Who has `role` in the project may answer.
    """
    interface = Interface({"message": Parameter("message", _TEXT)}, {"result": _BOOL})
    made = _question("approve", "approve", interface, _BOOL, timeout, default, required, role, after)
    made.step_name = None if name is None else checked_name(name, user_line())
    trace = current_trace()
    if trace is None:
        return bool(Answers().python(name or "approve", "approve", _BOOL, message))
    promise: bool = trace.call(made, (message,), {})
    return promise


def wait_for(
    name: str,
    type: Any,
    *,
    message: str = "",
    timeout: float | str | dt.timedelta | None = None,
    default: Any = None,
    role: str = "editor",
    after: Any = (),
) -> Any:
    """A step named `name` whose output is a value of `type` that a person or a program gives while the run waits.

    When nobody has given it after `timeout`, it is `default`, and without one the step fails.
    """
    wanted = type_of(type)
    interface = Interface({"message": Parameter("message", _TEXT, "")}, {"result": wanted})
    made = _question("wait_for", f"wait_for {spell(wanted)}", interface, wanted, timeout, default, False, role, after)
    made.step_name = checked_name(name, user_line())
    trace = current_trace()
    if trace is None:
        return Answers().python(name, "wait_for", wanted, message)
    return trace.call(made, (message,), {})


def sleep(seconds: float | str | dt.timedelta, *, name: str | None = None, after: Any = ()) -> Any:
    """A step that ends after `seconds` (a number, `"5m"`, a timedelta, or an output that is a number of seconds).

    It has no output: what is to come after it names it in `.with_options(after=...)`.
    """
    length: Any = seconds if isinstance(seconds, Promise) else parse_seconds(seconds)
    if length is None or (not isinstance(length, Promise) and length >= MOST_SLEEP_SECONDS):
        told = f'{seconds!r} is no duration below {MOST_SLEEP_SECONDS} s: write seconds, or text such as "30s" or "5m"'
        raise SpecError(f"{user_line()}: sleep(...) cannot run", [Problem("seconds", told)])
    trace = current_trace()
    if trace is None:
        return time.sleep(length)
    made = Wait("sleep", "sleep", Interface({"seconds": Parameter("seconds", {"kind": "float"})}, {}), {}, after)
    made.step_name = None if name is None else checked_name(name, user_line())
    return trace.call(made, (length,), {})


_OF_KIND: dict[str, Callable[..., Any]] = {"approve": approve, "wait_for": wait_for, "sleep": sleep}


def _refuse_map(kind: str, *_: Any, **__: Any) -> NoReturn:
    raise SpecError(
        f"{user_line()}: {kind}(...) cannot be mapped over: call it in a loop, or in a @dynamic task and map over that"
    )


for _kind, _function in _OF_KIND.items():
    vars(_function)["map"] = functools.partial(_refuse_map, _kind)


def _question(
    kind: str,
    name: str,
    interface: Interface,
    wanted: TypeDoc,
    timeout: Any,
    default: Any,
    required: bool,
    role: str,
    after: Any,
) -> Wait:
    problems: list[Problem] = []
    seconds = None if timeout is None else parse_seconds(timeout)
    if timeout is not None and not seconds:
        problems.append(
            Problem("timeout", f'{timeout!r} is no duration above 0: write seconds, or text such as "2h" or "7d"')
        )
    if default is not None and timeout is None:
        problems.append(Problem("default", "is the answer at the timeout: give timeout= as well"))
    if role not in ANSWER_ROLES:
        problems.append(Problem("role", f"{role!r} is no role: write one of {', '.join(ANSWER_ROLES)}"))
    if not isinstance(required, bool):
        problems.append(Problem("required", f"{required!r} is not True or False"))
    if isinstance(default, Promise):
        problems.append(Problem("default", "is a constant: an output of a step cannot be one"))
    elif default is not None:
        problems += check(default, wanted, "default")
    if problems:
        raise SpecError(f"{user_line()}: {kind}(...) cannot run", problems)
    ref = None if default is None else _small(default, wanted, kind)
    answer = {"role": role, "required": required, "default": ref}
    return Wait(kind, name, interface, {"timeout_seconds": seconds, "answer": answer}, after)


def _small(default: Any, wanted: TypeDoc, kind: str) -> dict[str, Any]:
    """The default as a reference that holds its value, so that no blob goes with the options of a step."""
    blobs = MemoryBlobs()
    try:
        ref: dict[str, Any] = encode(default, wanted, blobs)
    except CodecError as error:
        raise SpecError(f"{user_line()}: {kind}(...) cannot keep its default: {error}") from error
    if blobs.blobs:
        raise SpecError(f"{user_line()}: {kind}(...) has a default over 2,048 bytes: decide inside a task instead")
    return ref
