"""A whole engine in one thread: real Redis, real store, and a queue and an executor that a test can look into."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from celesta.codecs import encode, to_plain
from celesta.store import open_store
from celesta.store.base import Store, prefix_of
from workers.engine import Ended, Engine, complete, keys, start
from workers.engine.running import Runner
from workers.engine.source import Source

ANY = {"kind": "any"}
Binding = dict[str, Any]


def value(given: Any) -> Binding:
    return {"value": encode(given, ANY, None)}


def step(index: int, output: str = "result") -> Binding:
    return {"step": index, "output": output}


@dataclass
class Planned:
    """A plan under construction: `add` returns the index of the new step."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    """What is said of the whole run: `policy`, `timeout_seconds`."""

    def add(
        self,
        task: str,
        *,
        map_over: list[str] | None = None,
        after: tuple[int, ...] = (),
        cache: bool | dict[str, Any] = False,
        retries: int = 0,
        guard: tuple[int, bool] | None = None,
        dynamic: bool = False,
        ratio: float | None = None,
        retry: dict[str, Any] | None = None,
        resources: dict[str, Any] | None = None,
        on_failure: bool = False,
        limits: tuple[str, ...] = (),
        concurrency: int | None = None,
        **inputs: Binding,
    ) -> int:
        cached = {"version": None, "ignore": [], "environment": False, "ttl_seconds": None} if cache else None
        if cached and isinstance(cache, dict):
            cached |= cache
        document = _task(task, list(inputs), cached) | {"kind": "dynamic" if dynamic else "python"}
        policy = {"max": retries, "backoff_seconds": 0.05, "factor": 2.0, **(retry or {})}
        more = {"cache": cached, "retry": policy, "resources": resources, "map": map_over}
        if on_failure:
            more["on_failure"] = True
        more |= {"limits": list(limits), "concurrency": concurrency}
        if ratio is not None:
            more["min_success_ratio"] = ratio
        return self._append(task, document, inputs, after, guard, **more)

    def branch(self, test: Any, guard: tuple[int, bool] | None = None, **inputs: Binding) -> int:
        """A step that decides by its inputs."""
        return self._append("when", _in_place("branch", inputs, True), inputs, (), guard, branch=test)

    def merge(self, branch: int, guard: tuple[int, bool] | None = None, **sides: Binding) -> int:
        """A step that takes `then` or `otherwise`."""
        inputs = {f"{side}.result": binding for side, binding in sides.items()}
        document = _in_place("merge", inputs, bool(inputs))
        return self._append("result", document, inputs, (branch,), guard, merge=branch)

    def _append(
        self,
        name: str,
        task: dict[str, Any],
        inputs: dict[str, Binding],
        after: tuple[int, ...],
        guard: tuple[int, bool] | None,
        **more: Any,
    ) -> int:
        parents = {*after, *([guard[0]] if guard else [])}
        for binding in inputs.values():
            parents |= {part["step"] for part in binding.get("list", [binding]) if "step" in part}
        if task not in self.tasks:
            self.tasks.append(task)
        index = len(self.steps)
        self.steps.append(
            {
                "path": f"{name}#{index}",
                "task": self.tasks.index(task),
                "inputs": inputs,
                "map": None,
                "parents": sorted(parents),
                "children": [],
                **({"guard": {"step": guard[0], "is": guard[1]}} if guard else {}),
                **more,
            }
        )
        for parent in parents:
            self.steps[parent]["children"].append(index)
        return index

    def wait(self, kind: str, *, after: tuple[int, ...] = (), timeout: float | None = None, **more: Any) -> int:
        """A step that waits: `approve`, `wait_for` or `sleep` (then with `seconds`)."""
        port = {"seconds": value(more["seconds"])} if kind == "sleep" else {"message": value(more.get("message", "?"))}
        index = self.add(kind, after=after, on_failure=more.get("on_failure", False), **port)
        number = self.steps[index]["task"]
        self.tasks[number] = {**self.tasks[number], "kind": kind}
        answer = {"role": "editor", "required": more.get("required", False), "default": more.get("default")}
        self.steps[index] |= {"timeout_seconds": timeout, "answer": answer}
        return index

    def document(self, **outputs: Binding) -> dict[str, Any]:
        return self.options | {
            "plan": 1,
            "workflow": "test",
            "version": "v" * 64,
            "bundle": None,
            "interface": {"inputs": [], "outputs": [{"name": name, "type": {"kind": "any"}} for name in outputs]},
            "outputs": outputs,
            "tasks": self.tasks,
            "steps": self.steps,
            "roots": [
                index for index, step in enumerate(self.steps) if not step["parents"] and "on_failure" not in step
            ],
            "chords": [
                {"body": index, "header": step["parents"]}
                for index, step in enumerate(self.steps)
                if len(step["parents"]) > 1
            ],
        }


def _in_place(kind: str, inputs: dict[str, Binding], has_output: bool) -> dict[str, Any]:
    outputs = [{"name": "result", "type": ANY}] if has_output else []
    ports = [{"name": name, "type": ANY, "required": False} for name in inputs]
    return {"name": kind, "kind": kind, "interface": {"inputs": ports, "outputs": outputs}, "cache": None}


def _task(name: str, inputs: list[str], cache: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "python",
        "entrypoint": f"tests:{name}",
        "code_digest": "c" * 64,
        "interface_digest": "d" * 64,
        "interface": {
            "inputs": [{"name": given, "type": ANY, "required": True} for given in inputs],
            "outputs": [{"name": "result", "type": ANY}],
        },
        "cache": cache,
    }


def result_of(attempt: Mapping[str, Any], **outputs: Any) -> dict[str, Any]:
    """The result document of an attempt (`run, path, node, token`) that succeeded, with these references."""
    return {
        "result_document": 1,
        **{name: attempt[name] for name in ("run", "path", "node", "token")},
        "status": "succeeded",
        "outputs": outputs,
        "input_digests": {},
        "error": None,
        "metrics": [],
        "report": False,
        "log_bytes": 0,
        "timings": {"started_ms": 1, "finished_ms": 2},
        "worker": "here:1",
    }


@dataclass(frozen=True)
class Traced:
    """What a dynamic step returns: the spec of what it called."""

    spec: dict[str, Any]


class TestExecutor:
    """Runs a task by calling the Python function of its name; raising fails the step."""

    __test__ = False
    name = "tests"

    def __init__(self, store: Store, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.store = store
        self.functions = functions
        self.ran: list[str] = []
        self.cancelled: list[tuple[str, str, str]] = []
        self.before: Callable[[dict[str, Any]], None] = lambda document: None

    def submit(self, document: dict[str, Any]) -> dict[str, Any] | None:
        self.before(document)
        self.ran.append(document["node"])
        result = result_of(document) | {"input_digests": {n: ref["digest"] for n, ref in document["inputs"].items()}}
        try:
            given = {name: to_plain(ref, self.store) for name, ref in document["inputs"].items()}
            answer = self.functions[document["entrypoint"].partition(":")[2]](**given)
            if isinstance(answer, Traced):
                result["dynamic"] = self.store.put_blob(json.dumps(answer.spec).encode())
            else:
                result["outputs"] = {"result": encode(answer, ANY, self.store)}
        except Exception as error:
            bases = [base.__name__ for base in type(error).__mro__[1:]]
            told = {"type": type(error).__name__, "message": str(error), "traceback": "", "bases": bases}
            told["kind"] = getattr(error, "kind", "user")
            result |= {"status": "failed", "error": told}
        prefix = prefix_of(document)
        self.store.create(f"{prefix}result.json", json.dumps(result).encode())
        return result

    def cancel(self, run: str, node: str, token: str) -> bool:
        self.cancelled.append((run, node, token))
        return True


@dataclass
class World:
    """Redis, a store, a queue, an engine and a worker. `drain` lets the worker work until the queue is empty."""

    redis_url: str
    folder: Path
    functions: dict[str, Callable[..., Any]]

    def __post_init__(self) -> None:
        self.client = Redis.from_url(self.redis_url)
        self.store = open_store(f"file://{self.folder}")
        self.queue: deque[tuple[str, list[list[Any]]]] = deque()
        self.published: list[tuple[str, list[list[Any]]]] = []
        self.executor = TestExecutor(self.store, self.functions)
        self.engine = self.new_engine()
        self.worker = self.new_worker("here:1")

    def new_engine(self) -> Engine:
        return Engine(self.client, self.store, self.send, lease_seconds=10.0)

    def new_worker(self, name: str) -> Runner:
        return Runner(self.engine, self.executor, name, f"file://{self.folder}")

    def send(self, run: str, batches: list[list[list[Any]]]) -> None:
        for steps in batches:
            self.queue.append((run, steps))
            self.published.append((run, steps))

    def plan(self, planned: Planned, **outputs: Binding) -> str:
        return self.store.put_blob(json.dumps(planned.document(**outputs)).encode())

    def source(self, run: str, plan: str, **more: Any) -> Source:
        given = {"project": "p", "inputs": {}} | more
        return Source(run=run, plan=plan, **given)

    def start(self, run: str, plan: str, **more: Any) -> None:
        start(self.engine, self.source(run, plan, **more))

    def work(self) -> list[str]:
        """One message: claim, run, complete."""
        run, steps = self.queue.popleft()
        answers: list[str] = []

        def report(ended: list[Ended]) -> None:
            answers.extend(complete(self.engine, run, ended))

        report(self.worker.run(run, steps, report))
        return answers

    def drain(self) -> None:
        while self.queue:
            self.work()

    def run(self, planned: Planned, run: str = "r1", inputs: dict[str, Any] | None = None, **outputs: Binding) -> Any:
        """Starts a run, works until nothing is left, and returns its `run.finished` event."""
        self.start(run, self.plan(planned, **outputs), inputs=inputs or {})
        self.drain()
        return self.finished(run)

    # What happened

    def events(self, run: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(fields[b"e"]) for _, fields in self.client.xrange(keys.EVENTS)]
        return [e for e in found if (run is None or e["run"] == run) and (kind is None or e["kind"] == kind)]

    def finished(self, run: str = "r1") -> Any:
        found = self.events(run, "run.finished")
        assert len(found) <= 1, found
        return found[0] if found else None

    def states(self, run: str = "r1") -> dict[str, str]:
        """The accepted end of each step."""
        ends: dict[str, str] = {}
        for event in self.events(run, "step.settled"):
            assert event["node"] not in ends, f"{event['node']} settled twice"
            ends[event["node"]] = event["state"]
        return ends

    def output(self, run: str = "r1", name: str = "result") -> Any:
        return to_plain(self.finished(run)["outputs"][name], self.store)

    def dump(self) -> dict[str, Any]:
        """Everything that Redis holds, to see whether something changed it (deadlines left out)."""
        found: dict[str, Any] = {}
        for key in sorted(self.client.keys("celesta*")):
            kind = self.client.type(key)
            if key == keys.INFLIGHT.encode():
                found[key] = sorted(self.client.zrange(key, 0, -1))
            elif kind == b"hash":
                found[key] = self.client.hgetall(key)
            elif kind == b"zset":
                found[key] = self.client.zrange(key, 0, -1, withscores=True)
            elif kind == b"stream":
                found[key] = self.client.xlen(key)
            else:
                found[key] = self.client.dump(key)
        return found
