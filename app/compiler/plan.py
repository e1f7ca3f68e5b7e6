"""The plan as the engine and the recorder read it: a read-only view with the indexes that they want.

Owns nothing but the reading of `docs/contracts.md` section 5; made from the stored JSON once per process and kept.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from celesta.spec.shapes import WAITS

Document = dict[str, Any]


class Plan:
    """One compiled version. Steps are named by their index; nodes are their addresses inside a run (`"7"`, `"7.3"`)."""

    __slots__ = (
        "__dict__",
        "children",
        "chords",
        "document",
        "fail_fast",
        "handlers",
        "max_parallel",
        "need",
        "parents",
        "roots",
        "steps",
        "tasks",
    )

    def __init__(self, document: Document) -> None:
        self.document = document
        self.steps: Sequence[Document] = document["steps"]
        self.tasks: Sequence[Document] = document["tasks"]
        self.roots: Sequence[int] = document["roots"]
        self.parents: Sequence[Sequence[int]] = [step["parents"] for step in self.steps]
        self.children: Sequence[Sequence[int]] = [step["children"] for step in self.steps]
        self.need: Sequence[int] = [len(parents) for parents in self.parents]
        """How many settled parents each step waits for."""
        self.chords: Mapping[int, Sequence[int]] = {chord["body"]: chord["header"] for chord in document["chords"]}
        """The header of each step that is the body of a chord."""
        self.fail_fast: bool = document.get("policy") == "fail_fast"
        """Whether the first failure ends the run; else what does not need the failed step goes on."""
        self.handlers: Sequence[int] = [index for index, step in enumerate(self.steps) if "on_failure" in step]
        """Steps that run when the run has failed, and only then."""
        self.max_parallel: int | None = document.get("max_parallel")
        """How many steps of a run may be at work at once."""

    @classmethod
    def from_bytes(cls, data: bytes) -> "Plan":
        return cls(json.loads(data))

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def workflow(self) -> str:
        return str(self.document["workflow"])

    @property
    def version(self) -> str:
        return str(self.document["version"])

    @property
    def bundle(self) -> str | None:
        bundle: str | None = self.document["bundle"]
        return bundle

    @property
    def interface(self) -> Document:
        interface: Document = self.document["interface"]
        return interface

    @property
    def timeout_seconds(self) -> float | None:
        """How long a run may take, from its start."""
        seconds: float | None = self.document.get("timeout_seconds")
        return seconds

    @property
    def outputs(self) -> Document:
        """The run's outputs: a binding for each name."""
        outputs: Document = self.document["outputs"]
        return outputs

    @cached_property
    def paths(self) -> Mapping[str, int]:
        """The index of each path."""
        return {step["path"]: index for index, step in enumerate(self.steps)}

    def task(self, index: int) -> Document:
        """The task of a step, with its `interface_digest`."""
        return self.tasks[self.steps[index]["task"]]

    def bindings(self, index: int) -> Document:
        """What each input of a step is made from; bindings name other steps by index."""
        bindings: Document = self.steps[index]["inputs"]
        return bindings

    def mapped(self, index: int) -> Sequence[str] | None:
        """The inputs that a mapped step runs over; None for a plain step."""
        names: Sequence[str] | None = self.steps[index]["map"]
        return names

    def guard(self, index: int) -> Document | None:
        """The branch that decides about a step, and how it has to come out: `{"step": 4, "is": true}`."""
        guard: Document | None = self.steps[index].get("guard")
        return guard

    def allows(self, branch: int, index: int, taken: bool) -> bool:
        """Whether a step may run now that this branch came out so."""
        guard = self.guard(index)
        return guard is None or guard["step"] != branch or guard["is"] == taken

    def in_place(self, index: int) -> str | None:
        """`branch` or `merge` for a step that the engine settles itself; None for one with a task of its own."""
        step = self.steps[index]
        return "branch" if "branch" in step else "merge" if "merge" in step else None

    @cached_property
    def limits(self) -> set[str]:
        """The limits of the project that its steps name."""
        return {name for step in self.steps for name in step.get("limits") or ()}

    def waits(self, index: int) -> str | None:
        """What a step waits for that runs nothing (`approve`, `wait_for`, `sleep`); None for one that runs."""
        kind: str = self.task(index)["kind"]
        return kind if kind in WAITS else None

    def min_success_ratio(self, index: int) -> float:
        """Of a mapped step: which part of its items has to succeed."""
        ratio: float | None = self.steps[index].get("min_success_ratio")
        return 1.0 if ratio is None else ratio

    def path(self, node: str) -> str:
        """The path of a node: `train` for `"7"`, `train[3]` for `"7.3"`."""
        index, _, item = node.partition(".")
        path = str(self.steps[int(index)]["path"])
        return f"{path}[{item}]" if item else path
