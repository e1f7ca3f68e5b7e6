"""From a plan's bindings to the references that a step receives. Pure but for lists, whose long forms are blobs.

The cascade (to compute cache keys and to open maps), the claim (to build step documents) and the end of a run (its
outputs) come here with the outcomes they hold. Loads no values: lists are made of and taken apart into references.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from celesta.codecs import items, make_dict, make_list, one_length
from celesta.errors import Skipped
from celesta.rules import outputs_of
from celesta.store.base import Store
from workers.engine.views import Frame, View, index_of, item_of, steps_in

Ref = dict[str, Any]
Outcomes = Mapping[str, Mapping[str, Ref]]
"""Outputs by node."""


FAILURE = "!"
"""In the place of a node: what is told of the run's failure to the steps that run on it."""


class Resolver:
    """Binds steps of one run. Keeps the item lists it took apart, since every item of a map asks for the same."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._items: dict[str, list[Ref]] = {}

    def inputs(self, view: View, node: str, outcomes: Outcomes) -> dict[str, Ref]:
        """The reference of each input of a step, or of one item of a mapped step."""
        frame, index, item = view.frame(node), index_of(node), item_of(node)
        bindings = frame.plan.bindings(index)
        mapped = frame.plan.mapped(index) or ()
        bound: dict[str, Ref] = {}
        for port in frame.plan.task(index)["interface"]["inputs"]:
            name = port["name"]
            if name in bindings:
                if item is not None and name in mapped:
                    bound[name] = self.element(frame, bindings[name], item, outcomes)
                else:
                    bound[name] = self.value(frame, bindings[name], outcomes)
            elif port.get("default") is not None:
                bound[name] = port["default"]
        return bound

    def merged(self, frame: Frame, index: int, outcomes: Outcomes) -> dict[str, Ref]:
        """The outputs of a merge, from the side that was taken. Raises `Skipped` when that side has none."""
        step = frame.plan.steps[index]
        taken = self._made(frame, step["merge"], outcomes)["result"]["inline"]
        side = "then." if taken else "otherwise."
        bindings = {name.removeprefix(side): one for name, one in step["inputs"].items() if name.startswith(side)}
        names = [port["name"] for port in frame.plan.task(index)["interface"]["outputs"]]
        if names and not bindings:
            raise Skipped(f'"{step["path"]}" has no value: its side of the branch gives none')
        return {name: self.value(frame, bindings[name], outcomes) for name in names}

    def outputs(self, frame: Frame, outcomes: Outcomes) -> dict[str, Ref]:
        """The outputs of a plan whose steps have settled: of the run, or of a dynamic step."""
        made = partial(self.value, frame, outcomes=outcomes)
        return outputs_of(frame.plan.interface, frame.plan.outputs, made, self.store)

    def value(self, frame: Frame, binding: Mapping[str, Any], outcomes: Outcomes) -> Ref:
        """The one reference that a binding stands for."""
        if "value" in binding:
            return dict(binding["value"])
        if "input" in binding:
            return dict(frame.inputs[binding["input"]])
        if "failure" in binding:
            return dict(outcomes[FAILURE]["failure"])
        if "step" in binding:
            return dict(self._made(frame, binding["step"], outcomes)[binding["output"]])
        if "list" in binding:
            return make_list([self.value(frame, part, outcomes) for part in binding["list"]], self.store)
        return make_dict({key: self.value(frame, part, outcomes) for key, part in binding["dict"].items()}, self.store)

    def _made(self, frame: Frame, index: int, outcomes: Outcomes) -> Mapping[str, Ref]:
        made = outcomes.get(frame.node(index))
        if made is None:
            raise Skipped(f'step "{frame.path_prefix}{frame.plan.steps[index]["path"]}" made nothing: it was skipped')
        return made

    def element(self, frame: Frame, binding: Mapping[str, Any], item: int, outcomes: Outcomes) -> Ref:
        """The reference of one element of a list; the others need not be known."""
        if "list" in binding:
            return self.value(frame, binding["list"][item], outcomes)
        return self.elements(frame, binding, outcomes)[item]

    def elements(self, frame: Frame, binding: Mapping[str, Any], outcomes: Outcomes) -> list[Ref]:
        """The references of a list's elements."""
        if "list" in binding:
            return [self.value(frame, part, outcomes) for part in binding["list"]]
        ref = self.value(frame, binding, outcomes)
        if "blob" not in ref:
            return items(ref, self.store)
        found = self._items.get(ref["blob"])
        if found is None:
            if len(self._items) >= 8:
                self._items.clear()
            found = self._items[ref["blob"]] = items(ref, self.store)
        return found

    def width(self, view: View, node: str, outcomes: Outcomes) -> int:
        """How many items a mapped step has. Raises `InputError` when its lists differ in length."""
        frame, index = view.frame(node), index_of(node)
        bindings, mapped = frame.plan.bindings(index), frame.plan.mapped(index) or ()
        lengths = {name: len(self.elements(frame, bindings[name], outcomes)) for name in mapped}
        return one_length(view.path(node), lengths)


def parents_of(view: View, nodes: Iterable[str]) -> list[str]:
    """The nodes whose outcomes the inputs of these steps are made from, each once."""
    seen: dict[str, None] = {}
    for node in nodes:
        frame, index, item = view.frame(node), index_of(node), item_of(node)
        mapped = frame.plan.mapped(index) or ()
        if "on_failure" in frame.plan.steps[index]:
            seen[FAILURE] = None
        for name, binding in frame.plan.bindings(index).items():
            if item is not None and name in mapped and "list" in binding:
                binding = binding["list"][item]
            for parent in steps_in(binding):
                seen[frame.node(parent)] = None
    return list(seen)
