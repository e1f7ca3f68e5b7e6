"""Which options a task, or a step that overrides them, may have in a spec, and what each may be.

Called by `celesta.spec.checks` and `celesta.spec.shapes`, on JSON that anyone may have sent: nothing raises. How people
write options is read by `celesta.options`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from celesta.errors import Problem
from celesta.options import LIMIT_NAME
from celesta.pod_template import pod_template_problems

CENTURY_SECONDS = 100 * 366 * 24 * 3600
ANSWER_ROLES = ("editor", "owner")


def option_problems(options: Any, where: str) -> Iterator[Problem]:
    """What is wrong with options of a task, or with those that a step overrides."""
    if not isinstance(options, dict):
        yield Problem(where, "options are not an object")
        return
    for name, value in options.items():
        if name not in OPTIONS:
            yield Problem(f"{where}.{name}", f"there is no such option; options are {', '.join(OPTIONS)}")
        elif not OPTIONS[name](value):
            yield Problem(f"{where}.{name}", f"{_short(value)} is not valid")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _number(value: Any, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < float("inf")


def is_duration(value: Any) -> bool:
    """Whether it is a number of seconds above 0 and below a century, so that the calendar has its end."""
    return _number(value, 0) and 0 < value < CENTURY_SECONDS


def _seconds_or_null(value: Any) -> bool:
    return value is None or is_duration(value)


def _text_or_null(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


def _cache(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and _text_or_null(value.get("version"))
        and _texts(value.get("ignore"))
        and isinstance(value.get("environment"), bool)
        and _seconds_or_null(value.get("ttl_seconds"))
        and value.get("scope") in ("project", "organisation")
    )


def _retry(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("max"), int)
        and _number(value["max"], 0)
        and _number(value.get("backoff_seconds"), 0)
        and _number(value.get("factor"), 1)
        and all(name not in value or check(value[name]) for name, check in _RETRY_MORE.items())
    )


def _count_or_null(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


_RETRY_MORE: dict[str, Callable[[Any], bool]] = {
    "jitter": lambda value: _number(value, 0) and value <= 1,
    "on": lambda value: value is None or _texts(value),
    "system": lambda value: value is not None and _count_or_null(value),
    "timeout": _count_or_null,
    "out_of_memory": _count_or_null,
    "memory_factor": lambda value: _number(value, 1) and value <= 100,
}


def _ratio_or_null(value: Any) -> bool:
    return value is None or (_number(value, 0) and 0 < value <= 1)


def _resources(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    memory, gpu = value.get("memory_bytes"), value.get("gpu")
    return _number(value.get("cpu"), 0) and (memory is None or _number(memory, 1)) and _number(gpu, 0)


def is_parallelism(value: Any) -> bool:
    """Whether it says how many may run at once."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000


def _parallelism_or_null(value: Any) -> bool:
    return value is None or is_parallelism(value)


def _limits(value: Any) -> bool:
    return value is None or (_texts(value) and all(LIMIT_NAME.fullmatch(name) for name in value) and len(value) <= 8)


def _answer(value: Any) -> bool:
    """Who may answer a question, whether a no is a failure, and what counts when nobody answers in time."""
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {"role", "required", "default"}
        and value["role"] in ANSWER_ROLES
        and isinstance(value["required"], bool)
        and (value["default"] is None or (isinstance(value["default"], dict) and "blob" not in value["default"]))
    )


OPTIONS: dict[str, Callable[[Any], bool]] = {
    "cache": _cache,
    "retry": _retry,
    "timeout_seconds": _seconds_or_null,
    "resources": _resources,
    "env": _text_map,
    "secrets": _texts,
    "executor": _text_or_null,
    "image": _text_or_null,
    "labels": _text_map,
    "min_success_ratio": _ratio_or_null,
    "answer": _answer,
    "pod_template": lambda value: value is None or not any(pod_template_problems(value)),
    "interruptible": lambda value: value is None or isinstance(value, bool),
    "limits": _limits,
    "concurrency": _parallelism_or_null,
}
