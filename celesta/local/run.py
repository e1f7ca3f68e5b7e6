"""One local run, from its first step to its end; and what is known of it then.

Made by `celesta.local.launch`. Owns the order of the steps, their states and counts, and the events; a step itself is
run by `steps`, the cache is asked through `cache`.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celesta.answers import Answers
from celesta.codecs import encode, items, make_list, none_ref, one_length, to_plain
from celesta.environment import environment_digest
from celesta.errors import CelestaError
from celesta.hashing import cache_components, cache_key
from celesta.ids import new_run_id
from celesta.local.cache import LocalCache
from celesta.local.checks import require_local
from celesta.local.failures import Failures
from celesta.local.scope import FAILURE, Scope, settles_in_place
from celesta.local.steps import LocalSteps, slept
from celesta.rules import is_enough, require_depth, told_of_parts, told_of_timeout
from celesta.runtime.failures import plain_error, told_error
from celesta.spec.shapes import WAITS
from celesta.spec.steps import in_order
from celesta.store import Store, step_prefix
from celesta.units import sleep_seconds

Document = dict[str, Any]
Ref = dict[str, Any]
OnEvent = Callable[[Document], object]

_COUNTS = ("succeeded", "cached", "failed", "skipped", "cancelled")
_COUNTED_AS = {"upstream_failed": "skipped"}


@dataclass
class LocalRun:
    """A run that ended. `outputs` are references, `document()` has them as JSON."""

    run_id: str
    workflow: str
    status: str
    outputs: dict[str, Ref]
    steps: dict[str, int]
    error: Document | None
    duration_seconds: float
    store: Store
    log: str | None = None  # where the log of the step in `error` is
    states: dict[str, str] = field(default_factory=dict)  # by path, map items singly
    not_asked: list[str] = field(default_factory=list)  # answers below dynamic steps that no step has asked for
    keys: dict[str, Document] = field(default_factory=dict)  # of steps that asked the cache: key and source, by path

    def document(self) -> Document:
        """The run as `celesta run --json` prints it, and what a person wants to know when it failed."""
        return {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "status": self.status,
            "outputs": {name: to_plain(ref, self.store) for name, ref in self.outputs.items()},
            "steps": self.steps,
            "duration_seconds": self.duration_seconds,
            "url": None,
            "error": self.error,
            "log": self.log,
        }


class Run:
    """One run: what is settled so far, and what that makes ready."""

    def __init__(
        self,
        spec: Document,
        inputs: dict[str, Ref],
        store: Store,
        index: LocalCache,
        home: Path,
        answers: Answers,
        on_event: OnEvent,
    ) -> None:
        self.id = new_run_id()
        self.spec, self.store, self.index, self.on_event = spec, store, index, on_event
        self.scope = Scope(spec, inputs, store)
        self.answers = answers
        self.steps = LocalSteps(self.id, store, home, self._event)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.states: dict[str, str] = {}
        self.keys: dict[str, Document] = {}
        self.failures = Failures()
        self.known = sum(1 for step in spec["steps"] if not step.get("on_failure"))
        self.handling = False
        seconds = spec.get("timeout_seconds")
        self.until: float | None = None if seconds is None else time.monotonic() + seconds
        self.timed_out = False

    def run(self) -> LocalRun:
        started = time.perf_counter()
        self._event("run.started", known=self.known)
        with self.steps:
            self._run_all(self.scope)
            if self.failures.of_run is not None:
                self._run_failed(self.failures.of_run)
        failure = self.failures.of_run
        log = failure.pop("log") if failure else None
        status = "failed" if failure else "succeeded"
        outputs = {} if failure else self.scope.outputs()
        steps = {"total": sum(self.counts.values()), **self.counts}
        self._event("run.finished", status=status, outputs=outputs, error=failure, counts=steps)
        run = LocalRun(
            run_id=self.id,
            workflow=self.spec["name"],
            status=status,
            outputs=outputs,
            steps=steps,
            error=failure,
            duration_seconds=round(time.perf_counter() - started, 6),
            store=self.store,
            log=log,
            states=self.states,
            not_asked=self.answers.not_asked(),
            keys=self.keys,
        )
        self.index.record(run)
        return run

    # Steps

    def _run_all(self, scope: Scope, *, on_failure: bool = False) -> None:
        for index, step in in_order(scope.spec["steps"]):
            if bool(step.get("on_failure")) != on_failure:
                continue
            scope.settled[step["path"]] = self._settle(scope, f"{scope.prefix}{index}", step)

    def _run_failed(self, failure: Document) -> None:
        """The steps that run when the run has failed."""
        told = {"run": self.id, "project": "local", "workflow": self.spec["name"]}
        told |= {name: failure.get(name) for name in ("path", "type", "message", "kind")}
        self.scope.outcomes[FAILURE] = {"failure": encode(told, {"kind": "any"}, self.store)}
        self.handling, self.until = True, None
        self._run_all(self.scope, on_failure=True)

    def _settle(self, scope: Scope, node: str, step: Document) -> str:
        path = scope.path_prefix + step["path"]
        state = "cancelled" if self._is_stopped() else scope.fate(step)
        if state is not None:
            return self._tell(node, path, state) if settles_in_place(step) else self._done(node, path, state)
        try:
            if settles_in_place(step):
                outputs = scope.decided(step)
                state = self._tell(node, path, "skipped" if outputs is None else "succeeded")
            elif step.get("map") is not None:
                state, outputs = self._run_map(scope, node, step)
            else:
                bound = {name: scope.value(binding) for name, binding in step["inputs"].items()}
                task = scope.task(step)
                run = self._wait if task["kind"] in WAITS else self._run_step
                state, outputs = run(node, path, task, bound)
        except CelestaError as error:
            return self._could_not(node, path, error)
        if outputs is not None:
            scope.outcomes[step["path"]] = outputs
        return state

    def _run_map(self, scope: Scope, node: str, step: Document) -> tuple[str, dict[str, Ref] | None]:
        """Each item is a step of its own; the outputs of the whole are the lists of theirs."""
        path, task = scope.path_prefix + step["path"], scope.task(step)
        whole = {name: scope.value(binding) for name, binding in step["inputs"].items()}
        lists = {name: items(whole[name], self.store) for name in step["map"]}
        width = one_length(path, {name: len(refs) for name, refs in lists.items()})
        self.known += width
        self._event("map.opened", node=node, path=path, width=width, known=self.known)
        ratio = task.get("min_success_ratio") or 1.0
        gathered: list[dict[str, Ref] | None] = []
        with self.failures.below_map(ratio < 1) as missed:
            for item in range(width):
                bound = whole | {name: refs[item] for name, refs in lists.items()}
                gathered.append(self._run_item(f"{node}.{item}", f"{path}[{item}]", task, bound))
        if self.timed_out:
            return self._tell(node, path, "cancelled"), None
        bad = gathered.count(None)
        if not is_enough(width, bad, ratio):
            for first in missed:
                told = told_of_parts(bad, "items", first["path"], first["message"])
                self.failures.tell(first | {"path": path, "message": told})
            return self._tell(node, path, "failed"), None
        self._tell(node, path, "succeeded")
        return "succeeded", {
            port["name"]: make_list([none_ref() if one is None else one[port["name"]] for one in gathered], self.store)
            for port in task["interface"]["outputs"]
        }

    def _run_item(self, node: str, path: str, task: Document, bound: dict[str, Ref]) -> dict[str, Ref] | None:
        """The outputs of an item, or None. What goes wrong with it is its own failure."""
        if self._is_stopped():
            self._done(node, path, "cancelled")
            return None
        try:
            return self._run_step(node, path, task, bound)[1]
        except CelestaError as error:
            self._could_not(node, path, error)
            return None

    def _run_step(
        self, node: str, path: str, task: Document, bound: dict[str, Ref]
    ) -> tuple[str, dict[str, Ref] | None]:
        """A step, or an item of a map: from the cache, or run. Its state, and its outputs when it has them."""
        inputs = {name: ref for name, ref in _with_defaults(task, bound).items() if ref is not None}
        step = path.rpartition("[")[0] if path.endswith("]") else path
        key, components = (None, None) if self.index.is_off(step) else self._key(task, inputs)
        hit = self.index.find(key, task, step)
        if hit is not None:
            source = {name: hit[name] for name in ("run", "path", "node", "token")}
            return self._done(node, path, "cached", cache_key=key, source=source), hit["outputs"]
        result = self.steps.run(node, path, task, inputs, key, self.until)
        if result is None:
            self._is_stopped()
            return self._done(node, path, "cancelled"), None
        if result["status"] != "succeeded":
            self._fail(path, result["error"], result)
            return self._done(node, path, "failed", outcome=result, cache_key=key, components=components), None
        if "dynamic" in result:
            return self._run_traced(node, path, result)
        entry = {name: result[name] for name in ("run", "path", "node", "token", "outputs")}
        self.index.keep(key, entry, components, task, inputs)
        state = self._done(node, path, "succeeded", outcome=result, cache_key=key, components=components)
        return state, result["outputs"]

    def _run_traced(self, node: str, path: str, result: Document) -> tuple[str, dict[str, Ref] | None]:
        """What a dynamic step traced: its steps lie below it, and it settles when they have."""
        spec = json.loads(self.store.get_blob(result["dynamic"]))
        require_depth(node, path.rpartition("/")[2])
        require_local(spec)
        scope = Scope(spec, {}, self.store, f"{node}/", f"{path}/")
        self.known += len(spec["steps"])
        self._event("dynamic.opened", node=node, path=path, token=result["token"], width=len(spec["steps"]))
        self._run_all(scope)
        if {"failed", "upstream_failed", "cancelled"} & set(scope.settled.values()):
            return self._done(node, path, "failed", outcome=result | {"status": "failed"}), None
        outputs = scope.outputs()
        return self._done(node, path, "succeeded", outcome=result | {"outputs": outputs}), outputs

    def _is_stopped(self) -> bool:
        """Whether nothing more may start: the time is over, or a failure has ended the run by its policy."""
        if self.until is not None and not self.timed_out and time.monotonic() >= self.until:
            self.timed_out = True
            timeout = plain_error("Timeout", told_of_timeout(self.spec["timeout_seconds"]), "timeout")
            self.failures.end_run({"path": "", **timeout, "log": None})
        failed = self.failures.of_run is not None and self.spec.get("policy") == "fail_fast"
        return (failed or self.timed_out) and not self.handling

    def _wait(self, node: str, path: str, task: Document, bound: dict[str, Ref]) -> tuple[str, dict[str, Ref] | None]:
        """A step that waits: for a time, or for an answer that was given beforehand or is typed now."""
        seconds = sleep_seconds(to_plain(bound["seconds"], self.store)) if task["kind"] == "sleep" else None
        self._event("step.parked", node=node, path=path, waits_for=task["kind"])
        if seconds is None:
            outcome = self.answers.outcome(path, task, bound, self.store)
        elif slept(seconds, self.until) or not self._is_stopped():
            outcome = {"status": "succeeded", "outputs": {}, "error": None}
        else:
            return self._done(node, path, "cancelled"), None
        if outcome["error"]:
            self._fail(path, outcome["error"])
        outputs = None if outcome["error"] else outcome["outputs"]
        return self._done(node, path, outcome["status"], outcome=outcome), outputs

    def _key(self, task: Document, inputs: Mapping[str, Ref]) -> tuple[str | None, Document | None]:
        cache = task.get("cache")
        if cache is None:
            return None, None
        environment = (task.get("image") or environment_digest()) if cache.get("environment") else None
        components = cache_components(task, inputs, environment)
        return cache_key(components), components

    def _could_not(self, node: str, path: str, error: CelestaError) -> str:
        document = told_error(error)
        self._fail(path, document)
        return self._done(node, path, "failed", outcome={"status": "failed", "outputs": {}, "error": document})

    def _fail(self, path: str, error: Document, result: Document | None = None) -> None:
        log = None
        if result and result["log_bytes"]:
            log = f"{self.store.url}/{step_prefix(self.id, path, result['token'])}log.txt"
        self.failures.tell({"path": path, **error, "log": log})

    def _done(self, node: str, path: str, state: str, **facts: Any) -> str:
        self.counts[_COUNTED_AS.get(state, state)] += 1
        self.states[path] = state
        if facts.get("cache_key"):
            self.keys[path] = {"key": facts["cache_key"], "source": facts.get("source")}
        self._event("step.settled", node=node, path=path, state=state, **facts)
        return state

    def _tell(self, node: str, path: str, state: str) -> str:
        """The end of what is not counted: a map's items were, and a branch runs nothing."""
        self._event("step.settled", node=node, path=path, state=state)
        return state

    def _event(self, kind: str, **facts: Any) -> None:
        self.on_event({"kind": kind, "run": self.id, "at_ms": time.time_ns() // 1_000_000, **facts})


def _with_defaults(task: Document, bound: Mapping[str, Ref]) -> dict[str, Ref | None]:
    return {port["name"]: bound.get(port["name"], port.get("default")) for port in task["interface"]["inputs"]}
