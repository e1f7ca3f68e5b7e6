"""The one set of pure checks of a spec: structure, names, types, inputs, cycles. Linear in the size of the spec.

`validate` is called by the SDK, the API and the compiler. It takes whatever JSON came in, never raises, and tells all
problems up to a limit, each with the path of the step, task or output that it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from celesta.errors import Problem
from celesta.spec.conditions import condition_problems
from celesta.spec.options import is_duration, is_parallelism, option_problems
from celesta.spec.ports import Task, map_problems, outputs_of, ports_of, wait_problems
from celesta.spec.shapes import REFERENCE, interface_problems, ref_problems, task_problems
from celesta.spec.steps import find_cycle
from celesta.store.base import is_digest
from celesta.types import FAILURE_TYPE, TypeDoc, accepts, inside

PATH = re.compile(r"\w[\w.\- ]*(#\d+)?(/\w[\w.\- ]*(#\d+)?)*")
POLICIES = ("continue", "fail_fast")
MAX_PROBLEMS = 100
_MAX_PATH = 400
_MAX_DEPTH = 40


def validate(spec: Any) -> list[Problem]:
    """All that is wrong with a spec, at most 100 problems; an empty list when it can be compiled and run."""
    if not isinstance(spec, dict):
        return [Problem("", "a spec is an object")]
    problems = list(islice(_head(spec), MAX_PROBLEMS))
    if problems:  # names and types inside cannot be told apart before the frame is right
        return problems
    return list(islice(_Checks(spec).run(), MAX_PROBLEMS))


def _head(spec: dict[str, Any]) -> Iterator[Problem]:
    if spec.get("celesta") != 1:
        yield Problem("celesta", f"{spec.get('celesta')!r} is not a version of the spec that is known here: 1")
    if not isinstance(spec.get("name"), str) or not PATH.fullmatch(spec["name"]):
        yield Problem("name", "is no name of a workflow")
    if spec.get("policy", "continue") not in POLICIES:
        yield Problem("policy", f"{spec['policy']!r} is not one of {', '.join(POLICIES)}")
    if "timeout_seconds" in spec and not is_duration(spec["timeout_seconds"]):
        yield Problem("timeout_seconds", "is not a number of seconds above 0, and below a century")
    if "max_parallel" in spec and not is_parallelism(spec["max_parallel"]):
        yield Problem("max_parallel", "is not a whole number above 0")
    bundle = spec.get("bundle")
    if bundle is not None and not is_digest(bundle):
        yield Problem("bundle", "is neither null nor a SHA-256 in hex")
    for key, kind, what in (("tasks", dict, "an object"), ("steps", list, "a list"), ("outputs", dict, "an object")):
        if not isinstance(spec.get(key), kind):
            yield Problem(key, f"is not {what}")
    yield from interface_problems(spec.get("interface"), "interface")
    if isinstance(spec.get("tasks"), dict):
        for name, task in spec["tasks"].items():
            yield from task_problems(name, task, f"tasks.{name}")


class _Checks:
    """One pass over a spec whose frame is right."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.inputs: dict[str, TypeDoc] = {one["name"]: one["type"] for one in spec["interface"]["inputs"]}
        self.tasks = {name: Task(doc) for name, doc in spec["tasks"].items()}
        self.outputs: dict[str, dict[str, TypeDoc]] = {}  # of each step whose task is known, by path
        self.parents: dict[str, list[str]] = {}
        self.branches: set[str] = set()
        self.handlers: set[str] = set()  # steps that run when the run has failed
        self._handles = False
        self._fits: dict[tuple[int, int], str | None] = {}

    def run(self) -> Iterator[Problem]:
        yield from self._steps()
        for step in self.spec["steps"]:
            path = step.get("path") if isinstance(step, dict) else None
            if not isinstance(path, str) or path not in self.parents:
                continue
            self._handles = path in self.handlers
            if "branch" in step or "merge" in step:
                yield from self._in_place(step, f"steps.{path}")
            elif "reference" in step:
                yield from self._reference(step, f"steps.{path}")
            elif isinstance(step.get("task"), str) and step["task"] in self.tasks:
                yield from self._step(step, f"steps.{path}")
            yield from self._guard(step.get("guard"), f"steps.{path}.guard", self.parents[path])
        yield from self._results()
        yield from self._apart()
        cycle = find_cycle(self.parents)
        if cycle:
            yield Problem("steps", f"the steps wait for each other in a cycle: {' -> '.join(cycle)}")

    def _steps(self) -> Iterator[Problem]:
        """Paths and tasks of all steps first, so that a binding may name a later step and a cycle is told as one."""
        for i, step in enumerate(self.spec["steps"]):
            path = step.get("path") if isinstance(step, dict) else None
            if not isinstance(path, str) or len(path) > _MAX_PATH or not PATH.fullmatch(path):
                yield Problem(f"steps[{i}]", "has no valid path")
                continue
            if path in self.parents:
                yield Problem(f"steps.{path}", "there are two steps of this path")
            self.parents[path] = []
            if step.get("on_failure"):
                self.handlers.add(path)
            if "branch" in step or "merge" in step:
                self.outputs[path] = ports_of(step)
                self.branches |= {path} if "branch" in step else set()
                continue
            if "reference" in step:  # what it gives is known when the version is linked
                continue
            name = step.get("task")
            task = self.tasks.get(name) if isinstance(name, str) else None
            if task is None:
                yield Problem(f"steps.{path}.task", f"there is no task {name!r} in this spec")
            else:
                self.outputs[path] = outputs_of(step, task)

    def _apart(self) -> Iterator[Problem]:
        """What runs when the run has failed waits for nothing else, and nothing else waits for it."""
        for path, parents in self.parents.items():
            for parent in parents:
                if (parent in self.handlers) != (path in self.handlers):
                    yield Problem(
                        f"steps.{path}", f'one of it and "{parent}" runs on failure only, so neither can wait'
                    )

    def _step(self, step: dict[str, Any], where: str) -> Iterator[Problem]:
        path, task, inputs, mapped = step["path"], self.tasks[step["task"]], step.get("inputs"), step.get("map")
        parents = self.parents[path]
        if not isinstance(inputs, dict):
            yield Problem(f"{where}.inputs", "is not an object")
            return
        if mapped is not None:
            yield from map_problems(mapped, inputs, where)
        elif isinstance(step.get("options"), dict) and step["options"].get("concurrency") is not None:
            yield Problem(f"{where}.options.concurrency", "is for mapped steps; this one is not mapped over")
        yield from wait_problems(self.spec["tasks"][step["task"]], step, where)
        for name, binding in inputs.items():
            wanted = (task.mapped_inputs if isinstance(mapped, list) and name in mapped else task.inputs).get(name)
            if wanted is None:
                known = ", ".join(task.inputs) or "none"
                yield Problem(f"{where}.inputs.{name}", f'task "{step["task"]}" has no such input; inputs are: {known}')
            else:
                yield from self._binding(binding, wanted, f"{where}.inputs.{name}", parents)
        for name in task.required:
            if name not in inputs:
                yield Problem(f"{where}.inputs.{name}", "is missing")
        yield from self._after(step.get("after"), f"{where}.after", parents)
        if mapped is None and isinstance(step.get("options"), dict) and "min_success_ratio" in step["options"]:
            yield Problem(f"{where}.options.min_success_ratio", "is for mapped steps only")
        if step.get("options"):
            yield from option_problems(step["options"], f"{where}.options")

    def _in_place(self, step: dict[str, Any], where: str) -> Iterator[Problem]:
        """A branch or a merge: what it looks at, and what it makes of it."""
        parents, inputs = self.parents[step["path"]], step.get("inputs")
        if not isinstance(inputs, dict):
            yield Problem(f"{where}.inputs", "is not an object")
            return
        if "branch" in step:
            yield from condition_problems(step["branch"], inputs, f"{where}.branch")
            for name, binding in inputs.items():
                yield from self._binding(binding, {"kind": "any"}, f"{where}.inputs.{name}", parents)
            return
        if step["merge"] not in self.branches:
            yield Problem(f"{where}.merge", f"there is no branch {step['merge']!r}")
        else:
            parents.append(step["merge"])
        yield from interface_problems({"inputs": [], "outputs": step.get("outputs")}, where)
        for name, binding in inputs.items():
            side, _, output = name.partition(".")
            wanted = self.outputs[step["path"]].get(output) if side in ("then", "otherwise") else None
            if wanted is None:
                yield Problem(f"{where}.inputs.{name}", "is neither then.OUTPUT nor otherwise.OUTPUT of its outputs")
            else:
                yield from self._binding(binding, wanted, f"{where}.inputs.{name}", parents)
        yield from self._after(step.get("after"), f"{where}.after", parents)

    def _reference(self, step: dict[str, Any], where: str) -> Iterator[Problem]:
        parents, text, inputs = self.parents[step["path"]], step["reference"], step.get("inputs")
        if not isinstance(text, str) or not REFERENCE.fullmatch(text):
            yield Problem(f"{where}.reference", 'is not "project/name@version"')
        if not isinstance(inputs, dict):
            yield Problem(f"{where}.inputs", "is not an object")
            return
        for name, binding in inputs.items():
            yield from self._binding(binding, {"kind": "any"}, f"{where}.inputs.{name}", parents)
        yield from self._after(step.get("after"), f"{where}.after", parents)

    def _guard(self, guard: Any, where: str, parents: list[str]) -> Iterator[Problem]:
        match guard:
            case None:
                return
            case {"step": str() as path, "is": bool()} if path in self.branches:
                parents.append(path)
            case _:
                yield Problem(where, "does not name a branch and how it has to come out")

    def _after(self, after: Any, where: str, parents: list[str]) -> Iterator[Problem]:
        if after is not None and not isinstance(after, list):
            yield Problem(where, "is not a list of paths")
            return
        for path in after or ():
            if isinstance(path, str) and path in self.parents:
                parents.append(path)
            else:
                yield Problem(where, f"there is no step {path!r}")

    def _binding(
        self, binding: Any, wanted: TypeDoc, where: str, parents: list[str], depth: int = 0
    ) -> Iterator[Problem]:
        """What keeps a binding from giving what is wanted; the steps it takes from are added to `parents`."""
        match binding:
            case {"step": str() as path, "output": str() as output}:
                given = self.outputs.get(path, {}).get(output)
                if path in self.parents:
                    parents.append(path)
                if given is None and (path in self.outputs or path not in self.parents):
                    yield Problem(where, self._unknown_output(path, output))
                elif given is not None and (reason := self._reason(wanted, given)):
                    yield Problem(where, f'{reason} by output "{output}" of step "{path}"')
            case {"failure": True} if self._handles:
                if reason := self._reason(wanted, FAILURE_TYPE):
                    yield Problem(where, f"{reason} by the failure")
            case {"value": ref}:
                yield from ref_problems(ref, wanted, where)
            case {"input": str() as name}:
                if name not in self.inputs:
                    yield Problem(where, f'the workflow has no input "{name}"')
                elif reason := self._reason(wanted, self.inputs[name]):
                    yield Problem(where, f'{reason} by the input "{name}"')
            case {"list": list() as items} if depth < _MAX_DEPTH:
                inner = inside(wanted, "list")
                if inner is None:
                    yield Problem(where, f"{wanted['kind']} is wanted, a list is given")
                    return
                for i, one in enumerate(items):
                    yield from self._binding(one, inner, f"{where}[{i}]", parents, depth + 1)
            case {"dict": dict() as items} if depth < _MAX_DEPTH:
                inner = inside(wanted, "dict")
                if inner is None:
                    yield Problem(where, f"{wanted['kind']} is wanted, a dict is given")
                    return
                for key, one in items.items():
                    yield from self._binding(one, inner, f"{where}[{key!r}]", parents, depth + 1)
            case _:
                yield Problem(where, "is not a binding: a value, input, step, list or dict")

    def _results(self) -> Iterator[Problem]:
        declared = {one["name"]: one["type"] for one in self.spec["interface"]["outputs"]}
        self._handles = False
        for name, wanted in declared.items():
            if name not in self.spec["outputs"]:
                yield Problem(f"outputs.{name}", "is declared and not bound")
            else:
                yield from self._binding(self.spec["outputs"][name], wanted, f"outputs.{name}", [])
        for name in self.spec["outputs"]:
            if name not in declared:
                yield Problem(f"outputs.{name}", "is not declared in the interface")

    def _reason(self, wanted: TypeDoc, given: TypeDoc) -> str | None:
        key = (id(wanted), id(given))
        if key not in self._fits:
            self._fits[key] = accepts(wanted, given)
        return self._fits[key]

    def _unknown_output(self, path: str, output: str) -> str:
        if path not in self.outputs:
            return f'there is no step "{path}"'
        return f'step "{path}" has no output "{output}"; outputs are: {", ".join(self.outputs[path]) or "none"}'
