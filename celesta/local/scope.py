"""One DAG of a local run: the workflow's own, or one that a dynamic step traced; what its steps came to so far.

Made by `celesta.local.run`. Owns values and fates of steps, by their paths inside this DAG; runs nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from celesta.codecs import encode, make_dict, make_list
from celesta.errors import Skipped
from celesta.rules import Binding, outputs_of
from celesta.spec.conditions import decide
from celesta.spec.steps import parents_of
from celesta.store import Store

FAILURE = "!"
"""In the place of a step's path: what is told of the run's failure."""
Document = dict[str, Any]
Ref = dict[str, Any]


@dataclass
class Scope:
    """Its nodes and paths begin with its prefixes. `outcomes` are those of steps that have outputs."""

    spec: Document
    inputs: dict[str, Ref]
    store: Store
    prefix: str = ""
    path_prefix: str = ""
    outcomes: dict[str, dict[str, Ref]] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)

    def task(self, step: Document) -> Document:
        task: Document = self.spec["tasks"][step["task"]]
        return task | (step.get("options") or {})

    def value(self, binding: Binding) -> Ref:
        """The reference that a binding stands for, now that its steps are done. Raises `Skipped` when one was."""
        if "value" in binding:
            return dict(binding["value"])
        if "input" in binding:
            return self.inputs[binding["input"]]
        if "failure" in binding:
            return self.outcomes[FAILURE]["failure"]
        if "step" in binding:
            return self._made(binding["step"])[binding["output"]]
        if "list" in binding:
            return make_list([self.value(part) for part in binding["list"]], self.store)
        return make_dict({key: self.value(part) for key, part in binding["dict"].items()}, self.store)

    def outputs(self) -> dict[str, Ref]:
        """The outputs of the whole."""
        return outputs_of(self.spec["interface"], self.spec["outputs"], self.value, self.store)

    def fate(self, step: Document) -> str | None:
        """What becomes of a step that is not to run, for its parents or a branch; None: it runs."""
        states = {self.settled[parent] for parent in parents_of(step)}
        if states & {"failed", "upstream_failed", "cancelled"}:
            return "upstream_failed"
        guard = step.get("guard")
        if guard is not None and (self.settled[guard["step"]] == "skipped" or not self._allows(guard)):
            return "skipped"
        return "skipped" if "skipped" in states and "merge" not in step else None

    def decided(self, step: Document) -> dict[str, Ref] | None:
        """The outputs of a branch or a merge; None for a merge that is skipped. Raises `ConditionError`."""
        if "branch" in step:
            inputs = {name: self.value(binding) for name, binding in step["inputs"].items()}
            return {"result": encode(decide(step["branch"], inputs), {"kind": "bool"}, self.store)}
        try:
            side = "then" if self._taken(step["merge"]) else "otherwise"
            return {port["name"]: self.value(step["inputs"][f"{side}.{port['name']}"]) for port in step["outputs"]}
        except (KeyError, Skipped):  # its side gives nothing, or what it would take was skipped
            return None

    def _made(self, path: str) -> dict[str, Ref]:
        if path not in self.outcomes:
            raise Skipped(f'step "{self.path_prefix}{path}" made nothing: it was skipped')
        return self.outcomes[path]

    def _allows(self, guard: Document) -> bool:
        return self._taken(guard["step"]) is guard["is"]

    def _taken(self, branch: str) -> bool:
        return bool(self.outcomes[branch]["result"]["inline"])


def settles_in_place(step: Document) -> bool:
    return "branch" in step or "merge" in step
