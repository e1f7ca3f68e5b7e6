"""Rules by which a run comes out as it does, on a server and here alike, and what is told where one ends it.

Pure. The engine (`workers.engine`) and local runs (`celesta.local`) ask here, so that they agree by construction.
"""

from collections.abc import Callable, Mapping
from typing import Any

from celesta.codecs import make_dict, make_list, none_ref
from celesta.errors import Skipped, SpecError
from celesta.graph import MOST_NESTED
from celesta.store import Store
from celesta.types import TypeDoc, accepts, inside

Ref = dict[str, Any]
Binding = Mapping[str, Any]

_NONE: TypeDoc = {"kind": "none"}


def is_enough(width: int, bad: int, ratio: float) -> bool:
    """Whether a map of so many items succeeds though `bad` of them did not; `ratio` is its `min_success_ratio`."""
    return width - bad >= ratio * width - 1e-9  # 0.07 * 100 is more than 7


def told_of_parts(bad: int, parts: str, path: str, message: str) -> str:
    """Why a map, or a dynamic step, failed: by the first of its items or steps that did."""
    return f"{bad} of its {parts} did not succeed; the first to fail was {path}: {message}"


def told_of_timeout(seconds: float) -> str:
    """Why a run failed that was ended by its timeout."""
    return f"the run took longer than its timeout of {seconds:g} s, and was ended"


def outputs_of(
    interface: Mapping[str, Any], bindings: Mapping[str, Binding], value: Callable[[Binding], Ref], store: Store
) -> dict[str, Ref]:
    """The outputs of a run, or of a dynamic step. What a skipped step would have made is None: in its place in a list
    or dict where the type there lets it be, else the whole output.

    `value` gives what a binding stands for, and raises `Skipped`.
    """

    def made(binding: Binding, wanted: TypeDoc) -> Ref:
        if "list" in binding and (inner := inside(wanted, "list")) is not None:
            return make_list([made_or_none(part, inner) for part in binding["list"]], store)
        if "dict" in binding and (inner := inside(wanted, "dict")) is not None:
            return make_dict({key: made_or_none(part, inner) for key, part in binding["dict"].items()}, store)
        return value(binding)

    def made_or_none(binding: Binding, wanted: TypeDoc) -> Ref:
        try:
            return made(binding, wanted)
        except Skipped:
            if accepts(wanted, _NONE) is not None:
                raise
            return none_ref()

    types = {port["name"]: {"kind": "union", "of": [port["type"], _NONE]} for port in interface["outputs"]}
    return {name: made_or_none(binding, types[name]) for name, binding in bindings.items()}


def require_depth(node: str, name: str) -> None:
    """Raises `SpecError` where a dynamic step lies too deep in others to open steps of its own."""
    if node.count("/") >= MOST_NESTED:
        raise SpecError(
            f'dynamic steps lie {MOST_NESTED} deep in each other, and "{name}" would open another: let it come to an '
            "end without calling itself, or do the rest in one task"
        )
