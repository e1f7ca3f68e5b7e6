"""One call of a task's function: references in, references out.

Owns loading inputs, calling the function (async ones too), checking what it returned against the declared outputs, and
storing it. Called by `celesta.runtime.step` in a step's own process, and by `celesta.local` in the user's.
Whatever goes wrong comes back as a failed result document; only `BaseException`s that are no one's failure
(`KeyboardInterrupt` in the user's own process) go through.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any

from celesta.codecs import decode, encode
from celesta.coroutines import run_coroutine
from celesta.errors import CodecError, InputError
from celesta.frames import place_of
from celesta.runtime.context import StepContext, active
from celesta.runtime.failures import error_document, kind_of
from celesta.types import check

Document = dict[str, Any]
Function = Callable[..., Any]


def call_step(
    document: Mapping[str, Any],
    store: Any,
    *,
    function: Callable[[], Function],
    context: StepContext,
    into: str | os.PathLike[str],
    worker: str = "",
    root: str | None = None,
) -> Document:
    """Runs the step of this document once, and returns its result document; nothing of it is written to the store
    but the blobs of its outputs.

    `function` is asked for the function inside, so that an import error becomes the step's error. Files of inputs are
    put into the folder `into`, which is made when it is needed. `root` is the folder of the code bundle.
    """
    result = blank_result(document, worker)
    is_dynamic = document.get("kind") == "dynamic"
    phases = _Phases(result["timings"])
    try:
        phases.enter("load_seconds")
        with active(context):
            body: Any = function()
            refs = _input_refs(document)
            result["input_digests"] = {name: ref["digest"] for name, ref in refs.items()}
            arguments = _load(document, refs, store, into)
            phases.enter("body_seconds")
            value = body.traced(arguments) if is_dynamic else _call(body, arguments)
        phases.enter("store_seconds")
        try:
            if is_dynamic and value.steps:
                from celesta.dynamics import written

                result["dynamic"] = written(value, document, store)
            else:
                declared = document["interface"]["outputs"]
                named = list(value.outputs.items()) if is_dynamic else _by_output(document, declared, value)
                result["outputs"] = _store_outputs(declared, named, store)
        except CodecError as error:
            where = place_of(getattr(body, "function", body))  # What it returned leaves no line of its own.
            raise CodecError(f"{where}: {error}").with_traceback(None) from None
        result["status"] = "succeeded"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        kind = "user" if phases.name == "body_seconds" else kind_of(error)
        result["error"] = error_document(error, kind, root, context.mask)
    phases.enter(None)
    result["metrics"] = context.metrics
    result["report"] = context.html is not None
    result["timings"]["finished_ms"] = time.time_ns() // 1_000_000
    return result


def blank_result(document: Mapping[str, Any], worker: str = "") -> Document:
    """The result document of an attempt that did nothing yet: failed, unless something better is put in."""
    started_ms = time.time_ns() // 1_000_000
    return {
        "result_document": 1,
        "run": document["run"],
        "path": document["path"],
        "node": document["node"],
        "token": document["token"],
        "status": "failed",
        "outputs": {},
        "input_digests": {},
        "error": None,
        "metrics": [],
        "report": False,
        "log_bytes": 0,
        "timings": {
            "started_ms": started_ms,
            "finished_ms": started_ms,
            "load_seconds": 0.0,
            "body_seconds": 0.0,
            "store_seconds": 0.0,
        },
        "worker": worker,
    }


class _Phases:
    """Measures what each phase of a call took, and remembers which one is on."""

    def __init__(self, timings: dict[str, Any]) -> None:
        self.name: str | None = None
        self._timings = timings
        self._since = time.perf_counter()

    def enter(self, name: str | None) -> None:
        now = time.perf_counter()
        if self.name is not None:
            self._timings[self.name] = round(now - self._since, 6)
        self.name, self._since = name, now


def _input_refs(document: Mapping[str, Any]) -> dict[str, Document]:
    refs = dict(document["inputs"])
    for declared in document["interface"]["inputs"]:
        if declared["name"] not in refs and declared.get("default") is not None:
            refs[declared["name"]] = declared["default"]
    return refs


def _load(
    document: Mapping[str, Any], refs: Mapping[str, Document], store: Any, into: str | os.PathLike[str]
) -> dict[str, Any]:
    if not refs:
        return {}
    types = {declared["name"]: declared["type"] for declared in document["interface"]["inputs"]}
    return {name: decode(ref, types[name], store, into) for name, ref in refs.items()}


def _call(body: Function, arguments: Mapping[str, Any]) -> Any:
    value = body(**arguments)
    return run_coroutine(value) if isinstance(value, CoroutineType) else value


def _store_outputs(declared: list[Document], named: list[tuple[str, Any]], store: Any) -> dict[str, Document]:
    ports = {output["name"]: output for output in declared}
    return {name: _store(ports[name], value, store) for name, value in named}


def _by_output(document: Mapping[str, Any], declared: list[Document], value: Any) -> list[tuple[str, Any]]:
    """The name of each declared output with its value. Several outputs are the fields of a NamedTuple or dataclass."""
    if not declared:
        if value is not None:
            raise _refused(document, value, "it declares no output: annotate what it returns, or return nothing")
        return []
    names = [output["name"] for output in declared]
    if names == ["result"] and _fields(value) != names:
        return [("result", value)]
    if _fields(value) != names:
        raise _refused(document, value, f"it declares the outputs {', '.join(names)}: return its declared type")
    return [(name, getattr(value, name)) for name in names]


def _fields(value: Any) -> list[str] | None:
    names = getattr(type(value), "_fields", None) or getattr(type(value), "__dataclass_fields__", None)
    return list(names) if names is not None else None


def _refused(document: Mapping[str, Any], value: Any, why: str) -> CodecError:
    return CodecError(f"step {document['path']!r} returned a {type(value).__name__}, but {why}")


def _store(output: Document, value: Any, store: Any) -> Document:
    where = f'output "{output["name"]}"'
    if problems := check(value, output["type"], where):
        raise CodecError(str(InputError("what it returned does not fit its hint", problems)))
    try:
        ref: Document = encode(value, output["type"], store)
    except CodecError as error:
        raise CodecError(f"{where} cannot be stored: {error}") from error
    return ref
