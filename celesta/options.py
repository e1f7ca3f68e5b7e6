"""What a task may be told besides its code: resources, retries, caching, … checked here and turned into spec documents.

`@task(...)` and `.with_options(...)` both read their arguments through `read_options`, so that one table says which
options exist. Everything wrong is told at once, each with what to write instead. The classes are part of the surface.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from celesta.errors import Problem, SpecError
from celesta.nearest import nearest
from celesta.pod_template import pod_template_problems
from celesta.units import VAST, is_number, is_whole, parse_bytes, parse_seconds

LIMIT_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Checked:
    """A frozen dataclass that refuses wrong fields, all of them at once."""

    def problems(self) -> Iterable[Problem]:
        raise TypeError(f"{type(self).__name__} says nothing about its fields")

    def __post_init__(self) -> None:
        found = list(self.problems())
        if found:
            raise SpecError(f"{type(self).__name__}(...) is not valid", found)


@dataclass(frozen=True)
class Resources(_Checked):
    """What one attempt may use. `memory`, and `storage` on its node's disk, are bytes, or text such as `"512Mi"` or
    `"2Gi"`; None means no limit."""

    cpu: float = 1.0
    memory: str | int | None = None
    gpu: int = 0
    storage: str | int | None = None

    def problems(self) -> Iterable[Problem]:
        if not is_number(self.cpu) or not 0 < self.cpu < VAST:
            yield Problem("cpu", f"{self.cpu!r} is not a number of cores above 0, such as 1 or 0.5")
        if self.memory is not None and parse_bytes(self.memory) is None:
            yield Problem("memory", f'{self.memory!r} is no size: write bytes, or text such as "512Mi" or "2Gi"')
        if self.storage is not None and parse_bytes(self.storage) is None:
            yield Problem("storage", f'{self.storage!r} is no size: write bytes, or text such as "10Gi"')
        if not is_whole(self.gpu) or self.gpu < 0:
            yield Problem("gpu", f"{self.gpu!r} is not a whole number of devices, 0 or more")

    def document(self) -> dict[str, Any]:
        memory = None if self.memory is None else parse_bytes(self.memory)
        asked = {"cpu": float(self.cpu), "memory_bytes": memory, "gpu": self.gpu}
        return asked if self.storage is None else {**asked, "storage_bytes": parse_bytes(self.storage)}


@dataclass(frozen=True)
class Retry(_Checked):
    """How often a failed attempt is repeated, and how long to wait before: `backoff` seconds, times `factor` each time,
    and a random part of that, up to `jitter`, more; at most a day.

    max: attempts after failures of the step's own code. on: only after these exceptions, by class or by name; a name
    stands for its subclasses too. timeout, out_of_memory: how many after the step took too long or too much; as `max`
    when not given. system: how many after what is nobody's fault, such as a lost worker; these do not wait.
    memory_factor: an attempt after one that ran out of memory may use so many times more of it.
    """

    max: int = 0
    backoff: float | str | dt.timedelta = 1.0
    factor: float = 2.0
    jitter: float = 0.0
    on: Any = None
    system: int = 3
    timeout: int | None = None
    out_of_memory: int | None = None
    memory_factor: float = 1.0

    def problems(self) -> Iterable[Problem]:
        for name in ("max", "system", "timeout", "out_of_memory"):
            most = getattr(self, name)
            if not (is_whole(most) and 0 <= most <= 1000) and not (most is None and name in _AS_MAX):
                yield Problem(name, f"{most!r} is not a whole number from 0 to 1000")
        if parse_seconds(self.backoff) is None:
            yield Problem("backoff", f'{self.backoff!r} is no duration: write seconds, or text such as "30s" or "5m"')
        for name in ("factor", "memory_factor"):
            if not is_number(getattr(self, name)) or not 1 <= getattr(self, name) <= 100:
                yield Problem(name, f"{getattr(self, name)!r} is not a number from 1 to 100")
        if not is_number(self.jitter) or not 0 <= self.jitter <= 1:
            yield Problem("jitter", f"{self.jitter!r} is not a part of the wait: write a number from 0 to 1")
        if self.on is not None and not _exception_names(self.on):
            yield Problem("on", f'{self.on!r} names no exceptions: write classes or names, as (OSError, "HTTPError")')

    def document(self) -> dict[str, Any]:
        """What is as by default is left out, but for the first three."""
        document = {"max": self.max, "backoff_seconds": parse_seconds(self.backoff), "factor": float(self.factor)}
        more = {
            "jitter": float(self.jitter),
            "on": None if self.on is None else _exception_names(self.on),
            "system": self.system,
            "timeout": self.timeout,
            "out_of_memory": self.out_of_memory,
            "memory_factor": float(self.memory_factor),
        }
        return document | {name: value for name, value in more.items() if value != getattr(Retry, name)}


_AS_MAX = ("timeout", "out_of_memory")


def _exception_names(given: Any) -> list[str]:
    """Names of exception classes, without their modules; empty when they are none."""
    every = given if isinstance(given, tuple | list | set | frozenset) else [given]
    names = [one.__name__ if isinstance(one, type) and issubclass(one, BaseException) else one for one in every]
    return sorted(set(names)) if all(isinstance(name, str) and name.isidentifier() for name in names) else []


@dataclass(frozen=True)
class Cache(_Checked):
    """When a step is answered from an earlier one.

    version: a label that takes the place of the code's digest; the author then says when results change.
    ignore: inputs that do not change the result. environment: the image takes part in the key.
    ttl: seconds, `"7d"` or a timedelta; an older entry is not used. scope: who shares the entries, the
    runs of a `"project"` or those of all projects (`"organisation"`).
    """

    version: str | None = None
    ignore: tuple[str, ...] | list[str] = ()
    environment: bool = False
    ttl: float | str | dt.timedelta | None = None
    scope: str = "project"

    def problems(self) -> Iterable[Problem]:
        if self.version is not None and not (isinstance(self.version, str) and self.version):
            yield Problem("version", f'{self.version!r} is not a label: write text such as "v2"')
        if not isinstance(self.ignore, tuple | list) or not all(isinstance(name, str) for name in self.ignore):
            yield Problem("ignore", f'{self.ignore!r} is not a list of input names, such as ["verbose"]')
        if not isinstance(self.environment, bool):
            yield Problem("environment", f"{self.environment!r} is not True or False")
        if self.ttl is not None and not parse_seconds(self.ttl):
            yield Problem("ttl", f'{self.ttl!r} is no duration above 0: write seconds, or text such as "12h" or "7d"')
        if self.scope not in ("project", "organisation"):
            yield Problem("scope", f'{self.scope!r} is not known: write "project" or "organisation"')

    def document(self) -> dict[str, Any]:
        ttl = None if self.ttl is None else parse_seconds(self.ttl)
        return {
            "version": self.version,
            "ignore": sorted(set(self.ignore)),
            "environment": self.environment,
            "ttl_seconds": ttl,
            "scope": self.scope,
        }


def read_options(given: dict[str, Any], where: str) -> dict[str, Any]:
    """The given options as their part of a task document. Raises `SpecError` with all problems."""
    document: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in given.items():
        if name not in _READERS:
            problems.append(Problem(name, _unknown(name, _READERS)))
            continue
        field, read = _READERS[name]
        try:
            document[field] = read(value)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if problems:
        raise SpecError(f"{where} has options that are not valid", problems)
    return document


def read_run_options(given: dict[str, Any], where: str) -> dict[str, Any]:
    """What `@workflow(...)` says of whole runs, as in the spec; defaults are left out. Raises `SpecError`."""
    document: dict[str, Any] = {}
    problems = [Problem(name, _unknown(name, _RUN_OPTIONS)) for name in given if name not in _RUN_OPTIONS]
    try:
        seconds = _timeout(given.get("timeout"))
        document |= {} if seconds is None else {"timeout_seconds": seconds}
    except ValueError as error:
        problems.append(Problem("timeout", str(error)))
    policy = given.get("policy", "continue")
    if policy not in ("continue", "fail_fast"):
        problems.append(Problem("policy", f'{policy!r} is not known: write "continue" or "fail_fast"'))
    elif policy != "continue":
        document["policy"] = policy
    try:
        most = _count(given.get("max_parallel"))
        document |= {} if most is None else {"max_parallel": most}
    except ValueError as error:
        problems.append(Problem("max_parallel", str(error)))
    if problems:
        raise SpecError(f"{where} has options that are not valid", problems)
    return document


def _cache(value: Any) -> dict[str, Any] | None:
    if value is None or value is False:
        return None
    if value is True:
        return Cache().document()
    if isinstance(value, str) and value:
        return Cache(version=value).document()
    if isinstance(value, Cache):
        return value.document()
    raise ValueError(f'{value!r} is not valid: write True, a version such as "v2", or Cache(...)')


def _retry(value: Any) -> dict[str, Any]:
    if isinstance(value, Retry):
        return value.document()
    if is_whole(value) and value >= 0:
        return Retry(max=value).document()
    raise ValueError(f"{value!r} is not valid: write a whole number of 0 or more, or Retry(...)")


def _timeout(value: Any) -> float | None:
    seconds = None if value is None else parse_seconds(value)
    if value is not None and not seconds:
        raise ValueError(f'{value!r} is no duration above 0: write seconds, or text such as "90s" or "10m"')
    return seconds


def _resources(value: Any) -> dict[str, Any]:
    if not isinstance(value, Resources):
        raise ValueError(f'{value!r} is not valid: write Resources(cpu=1, memory="2Gi")')
    return value.document()


def _env(value: Any) -> dict[str, str]:
    _require_text_map(value, '{"OMP_NUM_THREADS": "1"}')
    wrong = [name for name in value if not _ENV_NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name of an environment variable")
    return dict(sorted(value.items()))


def _labels(value: Any) -> dict[str, str]:
    _require_text_map(value, '{"team": "vision"}')
    return dict(sorted(value.items()))


def _require_text_map(value: Any, example: str) -> None:
    if not isinstance(value, dict) or not all(isinstance(part, str) for item in value.items() for part in item):
        raise ValueError(f"{value!r} is not a dict of text to text, such as {example}")


def _secrets(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and _ENV_NAME.fullmatch(v) for v in value):
        raise ValueError(f'{value!r} is not a list of secret names, such as ["HF_TOKEN"]')
    ours = [name for name in value if name.startswith("CELESTA_")]
    if ours:
        raise ValueError(f"{ours[0]!r} is a variable of Celesta itself, which no step may read: name it otherwise")
    return sorted(set(value))


def _pod_template(value: Any) -> dict[str, Any]:
    problems = [str(problem) for problem in pod_template_problems(value)]
    if problems:
        raise ValueError("; ".join(problems))
    return dict(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not True or False")
    return value


def _limits(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(v, str) and LIMIT_NAME.fullmatch(v) for v in names):
        raise ValueError(f'{value!r} is not a list of names of limits of the project, such as ["gpu"]')
    if len(set(names)) > 8:
        raise ValueError("a step has at most 8 limits")
    return sorted(set(names))


def _count(value: Any) -> int | None:
    if value is not None and not (is_whole(value) and 0 < value < 1_000_000):
        raise ValueError(f"{value!r} is not a whole number above 0")
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise ValueError(f"{value!r} is not text")
    return value


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "cache": ("cache", _cache),
    "retries": ("retry", _retry),
    "timeout": ("timeout_seconds", _timeout),
    "resources": ("resources", _resources),
    "env": ("env", _env),
    "secrets": ("secrets", _secrets),
    "executor": ("executor", _text),
    "image": ("image", _text),
    "labels": ("labels", _labels),
    "pod_template": ("pod_template", _pod_template),
    "interruptible": ("interruptible", _flag),
    "limits": ("limits", _limits),
    "concurrency": ("concurrency", _count),
}


_RUN_OPTIONS = ("timeout", "policy", "max_parallel")


def _unknown(name: str, known: Iterable[str]) -> str:
    if name == "min_success_ratio":
        return "is said of one map: give it to .map(...)"
    return f"there is no such option; {nearest(name, known, 'options are')}"


DEFAULTS: dict[str, Any] = {
    "cache": None,
    "retry": Retry().document(),
    "timeout_seconds": None,
    "resources": Resources().document(),
    "env": {},
    "secrets": [],
    "executor": None,
    "image": None,
    "labels": {},
}
