"""Checks a result document that a container sent: the engine and the recorder take what it says for granted.

Called by `app.api.step`, and by executors for the claim of a container's outputs. Only the form is checked here: which
values an attempt made is for the attempt to say.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from celesta.errors import InputError, Problem
from celesta.spec.shapes import ref_problems
from celesta.store.base import is_digest

Document = dict[str, Any]
KINDS = ("user", "system", "timeout", "out_of_memory")
TEXTS = ("type", "message", "traceback")


def check_result(result: Any, step: Document) -> Document:
    """The document itself, when it can be the result of this step document. Raises `InputError`."""
    if not isinstance(result, dict):
        raise InputError("a result document is an object")
    outputs = {port["name"]: port["type"] for port in step["interface"]["outputs"]}
    problems = [
        *_head(result, step),
        *_outputs(result, outputs),
        *_error(result),
        *_facts(result),
        *_plan(result, step),
    ]
    if problems:
        raise InputError(f"the result of step {step['path']!r} cannot be taken", problems)
    return result


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
    elif set(given) != (set(wanted) if result.get("status") == "succeeded" else set()):
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


def _plan(result: Document, step: Document) -> Iterator[Problem]:
    if "dynamic" in result and (step.get("kind") != "dynamic" or not is_digest(result["dynamic"])):
        yield Problem("dynamic", "expected the digest of what was traced, of a dynamic step only")


def _facts(result: Document) -> Iterator[Problem]:
    digests = result.get("input_digests")
    if not isinstance(digests, dict) or not all(isinstance(value, str) for value in digests.values()):
        yield Problem("input_digests", "expected the digest of each input")
    if not isinstance(result.get("metrics"), list) or not all(map(_is_metric, result["metrics"])):
        yield Problem("metrics", "expected a list of name, value, step and at_ms")
    if not isinstance(result.get("report"), bool) or not _is_count(result.get("log_bytes")):
        yield Problem("report", "expected whether there is a report, and log_bytes")
    timings = result.get("timings")
    if not isinstance(timings, dict) or not all(_is_count(timings.get(n)) for n in ("started_ms", "finished_ms")):
        yield Problem("timings", "expected started_ms and finished_ms")
    if not isinstance(result.get("worker"), str):
        yield Problem("worker", "expected text")


def _is_metric(metric: Any) -> bool:
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str) or not _is_count(metric.get("at_ms")):
        return False
    value, step = metric.get("value"), metric.get("step")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and (step is None or (isinstance(step, int) and -(1 << 63) <= step < 1 << 63))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
