"""Specs written by hand, run locally, for the tests of `celesta.local`."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celesta.codecs import decode, encode
from celesta.hashing import digest_of
from celesta.local import LocalRun, local_store, run_local
from celesta.runtime.context import current

ANY = {"kind": "any"}
INT = {"kind": "int"}
CACHED = {"version": None, "ignore": [], "environment": False, "ttl_seconds": None, "scope": "project"}
MODULE = "steps_of_test_local"

Document = dict[str, Any]


class Flow:
    """Builds a spec call by call, and counts which steps really ran."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = local_store(home)
        self.module = types.ModuleType(MODULE)
        self.ran: list[str] = []
        self.events: list[Document] = []
        self.clear()

    def clear(self) -> None:
        """Forgets the workflow, not what was run."""
        self.tasks: dict[str, Document] = {}
        self.steps: list[Document] = []
        self.outputs: dict[str, Document] = {}
        self.inputs: list[Document] = []
        self.options: dict[str, Any] = {}  # of the whole run

    def task(
        self, function: Callable[..., Any], takes: str = "", code: str = "1", gives: str = "result", **options: Any
    ) -> str:
        name = function.__name__

        def counted(**inputs: Any) -> Any:
            self.ran.append(current().step_path)
            return function(**inputs)

        setattr(self.module, name, counted)
        self.tasks[name] = {
            "name": name, "kind": "python", "entrypoint": f"{MODULE}:{name}", "code_digest": digest_of(code.encode()),
            "interface": {
                "inputs": [{"name": each, "type": ANY, "required": True} for each in takes.split()],
                "outputs": [{"name": each, "type": ANY} for each in gives.split()],
            },
            "doc": "", "source": "", "cache": CACHED, "retry": {"max": 0, "backoff_seconds": 0.0, "factor": 1.0},
            "timeout_seconds": None, "resources": {"cpu": 1, "memory_bytes": None, "gpu": 0}, "env": {}, "secrets": [],
            "executor": None, "image": None, "labels": {},
        } | options  # fmt: skip
        return name

    def step(self, task: str, path: str = "", map: list[str] | None = None, after: Any = (), **inputs: Any) -> str:
        path = path or task
        bound = {
            name: value if isinstance(value, dict) else {"value": self.ref(value)} for name, value in inputs.items()
        }
        self.steps.append(
            {"path": path, "task": task, "inputs": bound, "map": map, "after": list(after), "options": {}}
        )
        return path

    def ref(self, value: Any) -> Document:
        return encode(value, ANY, self.store)

    def spec(self) -> Document:
        interface = {"inputs": self.inputs, "outputs": [{"name": name, "type": ANY} for name in self.outputs]}
        return self.options | {
            "celesta": 1, "name": "flow", "doc": "", "interface": interface, "bundle": None,
            "python": "3.11", "git": None,
            "tasks": self.tasks, "steps": self.steps, "outputs": self.outputs,
        }  # fmt: skip

    def run(self, inputs: dict[str, Any] | None = None, **options: Any) -> LocalRun:
        self.ran.clear()
        self.events.clear()
        refs = {name: self.ref(value) for name, value in (inputs or {}).items()}
        return run_local(self.spec(), refs, self.home, on_event=self.events.append, **options)

    def value(self, run: LocalRun, name: str = "result") -> Any:
        return decode(run.outputs[name], ANY, self.store, self.home / "in")


def out(path: str, output: str = "result") -> Document:
    return {"step": path, "output": output}


def counts(run: LocalRun) -> tuple[int, ...]:
    return tuple(run.steps[name] for name in ("total", "succeeded", "cached", "failed", "skipped"))


def load(n: int) -> list[int]:
    return list(range(n))


def double(x: int) -> int:
    return 2 * x


def total(xs: list[int]) -> int:
    return sum(xs)


def build(flow: Flow, grid: Any, double: Callable[..., Any] = double, code: str = "1") -> None:
    """load -> double, mapped over the grid -> total -> shown"""

    def shown(n: int) -> str:
        return f"total is {n}"

    flow.clear()
    flow.step(flow.task(double, "x", code), map=["x"], x=grid)
    flow.step(flow.task(total, "xs"), xs=out("double"))
    flow.step(flow.task(shown, "n"), n=out("total"))
    flow.outputs = {"result": out("shown")}
