"""Checks a result document: the engine and the recorder take what it says for granted, and any step may forge its own.

Called by the engine for each result that it is given or finds in the store, by executors before they make one durable,
and by `app.api.step`. Only the form is checked here: which values an attempt made is for the attempt to say.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from celesta.errors import InputError, Problem
from celesta.spec.shapes import ref_problems
from celesta.store.base import is_digest, is_size

Document = dict[str, Any]
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode
"""Refuses NaN and infinity, which Python's own parser takes and no other does."""
KINDS = ("user", "system", "timeout", "out_of_memory")
TEXTS = ("type", "message", "traceback")
LISTS = ("bases", "events")
LAST_MS = 253_402_300_800_000
"""The end of the year 9999: no date is later."""


def check_result(result: Any, step: Document) -> Document:
    """The document itself, when it can be the result of this step: its `run, path, node, token, kind` and `interface`.

    Raises `InputError`.
    """
    if not isinstance(result, dict):
        raise InputError(f"step {step['path']!r} left {result!r:.80}: a result document is an object")
    try:
        problems = [*_problems(result, step)]
    except RecursionError:
        problems = [Problem("", "it is nested too deeply")]
    if problems:
        raise InputError(f"the result of step {step['path']!r} cannot be taken", problems)
    return result


def _problems(result: Document, step: Document) -> Iterator[Problem]:
    yield from _head(result, step)
    yield from _outputs(result, {port["name"]: port["type"] for port in step["interface"]["outputs"]})
    yield from _error(result)
    yield from _facts(result)
    yield from _plan(result, step)
    try:
        _encode(result)
    except ValueError as error:
        yield Problem("", f"it has no JSON form: {error}")


def _head(result: Document, step: Document) -> Iterator[Problem]:
    expected = {"result_document": 1} | {name: step[name] for name in ("run", "path", "node", "token")}
    for name, value in expected.items():
        if result.get(name) != value:
            yield Problem(name, f"expected {value!r}, got {result.get(name)!r:.80}")
    if result.get("status") not in ("succeeded", "failed"):
        yield Problem("status", "expected succeeded or failed")


def _outputs(result: Document, wanted: Mapping[str, Document]) -> Iterator[Problem]:
    given = result.get("outputs")
    if not isinstance(given, dict):
        yield Problem("outputs", "expected an object")
    elif set(given) != (set(wanted) if result.get("status") == "succeeded" and "dynamic" not in result else set()):
        yield Problem("outputs", f"expected all of {', '.join(wanted) or 'none'} on success, and none on failure")
    else:
        for name, ref in given.items():
            yield from ref_problems(ref, wanted[name], f"outputs.{name}")


def _error(result: Document) -> Iterator[Problem]:
    error = result.get("error")
    if (error is None) != (result.get("status") == "succeeded"):
        yield Problem("error", "expected one on failure, and none on success")
    elif error is not None:
        texts = isinstance(error, dict) and all(isinstance(error.get(name), str) for name in TEXTS)
        if not texts or error.get("kind") not in KINDS:
            yield Problem("error", f"expected type, message and traceback as text, and a kind of {', '.join(KINDS)}")
        elif not all(_is_texts(error.get(name, [])) for name in LISTS):
            yield Problem("error", f"expected lists of texts as {' and '.join(LISTS)}")


def _plan(result: Document, step: Document) -> Iterator[Problem]:
    if "dynamic" in result and (step.get("kind") != "dynamic" or not is_digest(result["dynamic"])):
        yield Problem("dynamic", "expected the digest of what was traced, of a dynamic step only")


def _facts(result: Document) -> Iterator[Problem]:
    digests = result.get("input_digests")
    if not isinstance(digests, dict) or not all(isinstance(value, str) for value in digests.values()):
        yield Problem("input_digests", "expected the digest of each input")
    if not isinstance(result.get("metrics"), list) or not all(map(_is_metric, result["metrics"])):
        yield Problem("metrics", "expected a list of name, value, step and at_ms")
    if not isinstance(result.get("report"), bool) or not is_size(result.get("log_bytes")):
        yield Problem("report", "expected whether there is a report, and log_bytes")
    timings = result.get("timings")
    if not isinstance(timings, dict) or not all(_is_moment(timings.get(n)) for n in ("started_ms", "finished_ms")):
        yield Problem("timings", "expected started_ms and finished_ms")
    if not isinstance(result.get("worker"), str):
        yield Problem("worker", "expected text")
    if result.get("environment") is not None and not is_digest(result["environment"]):
        yield Problem("environment", "expected the digest of the packages that it ran with")


def _is_metric(metric: Any) -> bool:
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str) or not _is_moment(metric.get("at_ms")):
        return False
    value, step = metric.get("value"), metric.get("step")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and (step is None or (isinstance(step, int) and -(1 << 63) <= step < 1 << 63))


def _is_moment(value: Any) -> bool:
    return is_size(value) and bool(value < LAST_MS)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
