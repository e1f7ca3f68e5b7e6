"""From a plan's bindings to the references that a step receives. Pure but for lists, whose long forms are blobs.

The cascade (to compute cache keys and to open maps), the claim (to build step documents) and the end of a run (its
outputs) come here with the outcomes they hold. Loads no values: lists are made of and taken apart into references.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from celesta.codecs import items, make_dict, make_list
from celesta.errors import InputError
from celesta.store.base import Store
from workers.engine.views import View, index_of, map_of, steps_in

Ref = dict[str, Any]
Outcomes = Mapping[str, Mapping[str, Ref]]
"""Outputs by node."""


class Resolver:
    """Binds steps of one run. Keeps the item lists it took apart, since every item of a map asks for the same."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._items: dict[str, list[Ref]] = {}

    def inputs(self, view: View, node: str, outcomes: Outcomes) -> dict[str, Ref]:
        """The reference of each input of a step, or of one item of a mapped step."""
        index = index_of(node)
        bindings = view.plan.bindings(index)
        mapped = view.plan.mapped(index) if map_of(node) is not None else None
        item = int(node.partition(".")[2]) if mapped else 0
        bound: dict[str, Ref] = {}
        for port in view.plan.task(index)["interface"]["inputs"]:
            name = port["name"]
            if name in bindings:
                if mapped and name in mapped:
                    bound[name] = self.element(view, bindings[name], item, outcomes)
                else:
                    bound[name] = self.value(view, bindings[name], outcomes)
            elif port.get("default") is not None:
                bound[name] = port["default"]
        return bound

    def value(self, view: View, binding: Mapping[str, Any], outcomes: Outcomes) -> Ref:
        """The one reference that a binding stands for."""
        if "value" in binding:
            return dict(binding["value"])
        if "input" in binding:
            return dict(view.inputs[binding["input"]])
        if "step" in binding:
            return dict(outcomes[str(binding["step"])][binding["output"]])
        if "list" in binding:
            return make_list([self.value(view, part, outcomes) for part in binding["list"]], self.store)
        return make_dict({key: self.value(view, part, outcomes) for key, part in binding["dict"].items()}, self.store)

    def element(self, view: View, binding: Mapping[str, Any], item: int, outcomes: Outcomes) -> Ref:
        """The reference of one element of a list; the others need not be known."""
        if "list" in binding:
            return self.value(view, binding["list"][item], outcomes)
        return self.elements(view, binding, outcomes)[item]

    def elements(self, view: View, binding: Mapping[str, Any], outcomes: Outcomes) -> list[Ref]:
        """The references of a list's elements."""
        if "list" in binding:
            return [self.value(view, part, outcomes) for part in binding["list"]]
        ref = self.value(view, binding, outcomes)
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
        index = index_of(node)
        bindings = view.plan.bindings(index)
        lengths = {name: len(self.elements(view, bindings[name], outcomes)) for name in view.plan.mapped(index) or ()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise InputError(f'the lists that "{view.plan.path(node)}" maps over differ in length: {told}')
        return next(iter(lengths.values()), 0)


def parents_of(view: View, nodes: Iterable[str]) -> list[str]:
    """The nodes whose outcomes the inputs of these steps are made from, each once."""
    seen: dict[str, None] = {}
    for node in nodes:
        index, _, item = node.partition(".")
        mapped = view.plan.mapped(int(index)) if item else None
        for name, binding in view.plan.bindings(int(index)).items():
            if mapped and name in mapped and "list" in binding:
                binding = binding["list"][int(item)]
            for parent in steps_in(binding):
                seen[str(parent)] = None
    return list(seen)
