"""What flows between the steps of one run, told by its plan: pure, and exact where digests alone would guess.

Two steps may well make the same value, say 5; which of them another step took is in the bindings. Called by
`lineage_query`. A node is `7` for a step and `7.3` for an item of a map; nodes of other forms are of no plan here.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from app.compiler.plan import Plan


class Use(NamedTuple):
    """An input that was taken from a step of the same run."""

    input: str
    node: str
    output: str


class Flow:
    """The flow of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def knows(self, node: str) -> bool:
        """Whether the node is of this plan."""
        index, _, item = node.partition(".")
        return index.isdigit() and int(index) < len(self._plan) and (not item or item.isdigit())

    def taken(self, node: str) -> list[Use]:
        """What the step took from steps: an item of a map from an item of another where it was given that element."""
        index, item = _split(node)
        mapped = self._plan.mapped(index) or ()
        if mapped and item is None:
            return []  # the gather of a map is made of its items
        return [
            Use(name, self._element(source, item if name in mapped else None), output)
            for name, source, output in self._uses(index)
        ]

    def given(self, node: str) -> list[tuple[str, str]]:
        """The inputs that were taken from inputs of the run: their names here and there."""
        if not self.knows(node):
            return []
        bindings = self._plan.bindings(_split(node)[0])
        return [(name, part["input"]) for name, binding in bindings.items() for part in _parts(binding, "input")]

    def takers_of_input(self, name: str) -> Iterator[tuple[str, str, bool]]:
        """Which steps took an input of the run: node, their own input, and whether every item of a map did."""
        for index in range(len(self._plan)):
            for own, outer in self.given(str(index)):
                if outer == name:
                    yield str(index), own, self._plan.mapped(index) is not None

    def takers(self, node: str, output: str = "") -> Iterator[tuple[Use, bool]]:
        """Who took an output of this step (any, without a name): the use seen from the taker, whose node it names; and
        whether the taker is a map of which every item did."""
        index, item = _split(node)
        for taker, name, taken in self._takers[index]:
            mapped = self._plan.mapped(taker) or ()
            if output and taken != output:
                continue
            if item is None:
                yield Use(name, str(taker), taken), bool(mapped)
            elif name in mapped:
                yield Use(name, f"{taker}.{item}", taken), False

    def path(self, node: str) -> str:
        return self._plan.path(node)

    def code_digest(self, node: str) -> str | None:
        """The digest of the code that the step ran."""
        return str(self._plan.task(_split(node)[0])["code_digest"]) if self.knows(node) else None

    def _element(self, source: int, item: int | None) -> str:
        return str(source) if item is None or self._plan.mapped(source) is None else f"{source}.{item}"

    def _uses(self, index: int) -> list[tuple[str, int, str]]:
        """Input, the step it is from, and the output."""
        return [
            (name, part["step"], part["output"])
            for name, binding in self._plan.bindings(index).items()
            for part in _parts(binding, "step")
        ]

    @cached_property
    def _takers(self) -> Mapping[int, list[tuple[int, str, str]]]:
        """By step: who took of it, as which input, which output."""
        found: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
        for index in range(len(self._plan)):
            for name, source, output in self._uses(index):
                found[source].append((index, name, output))
        return found


@lru_cache(maxsize=32)
def flow_of(plan: Plan) -> Flow:
    """The flow of a plan, which never changes, made once."""
    return Flow(plan)


def _split(node: str) -> tuple[int, int | None]:
    index, _, item = node.partition(".")
    return int(index), int(item) if item else None


def _parts(binding: Any, kind: str) -> Iterator[dict[str, Any]]:
    """The bindings of one kind, however deep in others; constants are not looked into."""
    if isinstance(binding, dict) and "value" not in binding:
        if kind in binding:
            yield binding
        else:
            for part in binding.values():
                yield from _parts(part, kind)
    elif isinstance(binding, list):
        for part in binding:
            yield from _parts(part, kind)
