"""Puts the steps of registered workflows in the place of the steps that refer to them. Pure; called at registration.

A linked spec stands by itself: paths of the steps lie below the path of the call (those of a single task take it over),
their tasks keep their names and bring their bundles, and bindings go straight from step to step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celesta.errors import Problem, SpecError
from celesta.spec.steps import parents_of

Document = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """What a reference was found to be. `label` is `project/name@<version>`, short."""

    label: str
    spec: Document
    record: Document
    """What the linked spec says of it: project, workflow, version."""


def references_of(spec: Document) -> dict[str, str]:
    """The references of a spec, each with the path of the first step that makes it."""
    found: dict[str, str] = {}
    for step in spec["steps"]:
        if "reference" in step:
            found.setdefault(step["reference"], step["path"])
    return found


def link(spec: Document, targets: Mapping[str, Target]) -> Document:
    """The spec without references. Raises `SpecError` with what does not fit between the calls and what they call."""
    return _Link(spec, targets).linked()


class _Call:
    """One step that refers to a version: the steps that take its place."""

    def __init__(self, step: Document, target: Target) -> None:
        self.step = step
        self.target = target
        self.spec = target.spec
        ports = {port["name"]: port for port in self.spec["interface"]["inputs"]}
        self.defaults = {name: {"value": port["default"]} for name, port in ports.items() if port.get("default")}
        self.unknown = [name for name in step["inputs"] if name not in ports]
        self.missing = [name for name in ports if name not in step["inputs"] and name not in self.defaults]
        alone = [one["path"] for one in self.spec["steps"] if not one.get("on_failure")] == [self.spec["name"]]
        self.prefix = None if alone else f"{step['path']}/"

    def path(self, inner: str) -> str:
        return self.step["path"] if self.prefix is None else self.prefix + inner

    def ends(self) -> list[str]:
        """The steps that nothing inside waits for: who comes after the call comes after them."""
        steps = [step for step in self.spec["steps"] if not step.get("on_failure")]
        above = {parent for step in steps for parent in parents_of(step)}
        return [self.path(step["path"]) for step in steps if step["path"] not in above]

    def task(self, name: str) -> str:
        brought = "bundle" in self.spec["tasks"][name]  # by a reference of its own: it has a name of its own already
        return name if brought else f"{self.target.label}:{name}"

    def tasks(self) -> dict[str, Document]:
        own = {"bundle": self.spec["bundle"]}
        return {self.task(name): own | task for name, task in self.spec["tasks"].items()}


class _Link:
    def __init__(self, spec: Document, targets: Mapping[str, Target]) -> None:
        self.spec = spec
        self.targets = targets
        self.calls = {s["path"]: _Call(s, targets[s["reference"]]) for s in spec["steps"] if "reference" in s}
        self.problems: list[Problem] = []

    def linked(self) -> Document:
        steps: list[Document] = []
        tasks = dict(self.spec["tasks"])
        for step in self.spec["steps"]:
            call = self.calls.get(step["path"])
            if call is None:
                steps.append(self._own(step))
            else:
                self._check(call)
                tasks |= call.tasks()
                steps += [self._inner(call, one) for one in call.spec["steps"] if not one.get("on_failure")]
        outputs = {name: self._outer(one, f"outputs.{name}") for name, one in self.spec["outputs"].items()}
        if self.problems:
            raise SpecError("the spec cannot run", self.problems)
        records = {text: target.record for text, target in sorted(self.targets.items())}
        return self.spec | {"tasks": tasks, "steps": steps, "outputs": outputs, "references": records}

    def _check(self, call: _Call) -> None:
        where, known = f"steps.{call.step['path']}.inputs", call.spec["interface"]["inputs"]
        told = ", ".join(port["name"] for port in known) or "none"
        for name in call.unknown:
            message = f'"{call.target.label}" has no such input; inputs are: {told}'
            self.problems.append(Problem(f"{where}.{name}", message))
        self.problems += [
            Problem(f"{where}.{name}", f'is missing: "{call.target.label}" needs it') for name in call.missing
        ]

    def _own(self, step: Document) -> Document:
        inputs = {n: self._outer(b, f"steps.{step['path']}.inputs.{n}") for n, b in step["inputs"].items()}
        made = step | {"inputs": inputs}
        return made | {"after": self._after(step["after"])} if step.get("after") else made

    def _inner(self, call: _Call, step: Document) -> Document:
        """A step of the version that is called, in its new place."""
        made = step | {
            "path": call.path(step["path"]),
            "inputs": {name: self._bound(call, binding) for name, binding in step["inputs"].items()},
        }
        after = [call.path(path) for path in step.get("after") or ()]
        if not parents_of(step):
            after += self._after(call.step.get("after") or ())
        if "task" in step:
            made["task"] = call.task(step["task"])
        if "merge" in step:
            made["merge"] = call.path(step["merge"])
        if step.get("guard"):
            made["guard"] = step["guard"] | {"step": call.path(step["guard"]["step"])}
        elif call.step.get("guard"):
            made["guard"] = call.step["guard"]
        return made | {"after": after}

    def _bound(self, call: _Call, binding: Document) -> Document:
        """A binding of the version that is called, as seen from outside."""
        if "step" in binding:
            return binding | {"step": call.path(binding["step"])}
        if "input" in binding:
            name = binding["input"]
            given = call.step["inputs"].get(name)
            if given is None:
                return call.defaults.get(name, {"list": []})  # missing, and told
            return self._outer(given, f"steps.{call.step['path']}.inputs.{name}")
        return _inside(binding, lambda part: self._bound(call, part))

    def _outer(self, binding: Document, where: str) -> Document:
        """A binding of this spec, with what a call gives replaced by what gives it inside."""
        call = self.calls.get(binding["step"]) if "step" in binding else None
        if call is None:
            return binding if "step" in binding else _inside(binding, lambda part: self._outer(part, where))
        name = binding["output"]
        found = call.spec["outputs"].get(name)
        if found is None:
            known = ", ".join(call.spec["outputs"]) or "none"
            self.problems.append(Problem(where, f'"{call.target.label}" has no output "{name}"; outputs are: {known}'))
            return {"list": []}
        return self._bound(call, found)

    def _after(self, paths: Any) -> list[str]:
        return [one for path in paths for one in (self.calls[path].ends() if path in self.calls else [path])]


def _inside(binding: Document, change: Any) -> Document:
    if "list" in binding:
        return {"list": [change(part) for part in binding["list"]]}
    if "dict" in binding:
        return {"dict": {key: change(part) for key, part in binding["dict"].items()}}
    return binding
