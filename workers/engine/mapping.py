"""Mapped steps: their items are opened by a cursor, and gathered when all have settled.

The cascade comes here with a mapped step whose inputs are there, and with one whose last item has settled. Holds one
chunk of items at a time, however wide the map is.
"""

import json
from typing import TYPE_CHECKING, Any

from app.compiler.schema import MOST_STEPS
from celesta.codecs import make_list, none_ref
from celesta.errors import SpecError
from celesta.rules import is_enough, told_of_parts
from celesta.runtime.failures import plain_error
from workers.engine import events, keys, settling
from workers.engine.bindings import Ref, parents_of
from workers.engine.core import CHUNK
from workers.engine.views import index_of

if TYPE_CHECKING:
    from workers.engine.cascade import Cascade


def open_map(cascade: "Cascade", node: str) -> None:
    """A mapped step whose inputs are there: its width becomes known, and its items are asked, chunk by chunk."""
    view = cascade.view
    width = _width(cascade, node)
    if width == 0:
        gather(cascade, node, 0, "")
        return
    if width > MOST_STEPS:
        raise SpecError(f"it maps over {width} items: a map may have {MOST_STEPS}; give each item more to do")
    event = events.map_opened(view, node, width)
    opening = {"n": node, "need": settling.need_of(view, node), "width": width, "e": event}
    cascade.flush_all()
    for start in range(0, width, CHUNK):
        items = [f"{node}.{item}" for item in range(start, min(start + CHUNK, width))]
        cascade.begin_items(node, items)
        cascade.flush(open=opening)
        cascade.flush_all(open=opening)
    cascade.flush(opened=node)


def gather(cascade: "Cascade", node: str, bad: int, first: str) -> None:
    """The body of a map's chord: lists of references, or the first failure."""
    view = cascade.view
    width = _width(cascade, node)
    ratio = view.frame(node).plan.min_success_ratio(index_of(node))
    if not is_enough(width, bad, ratio):
        found = json.loads(first) if first else {}
        path, why = found.get("path", view.path(node)), found.get("message", "it was not run")
        message = told_of_parts(bad, "items", path, why)
        error = plain_error(str(found.get("type", "MapFailed")), message, str(found.get("kind", "user")))
        entry = settling.in_place(view, node, "failed", error=error, gathered=True)
        if first and ratio == 1:  # It may miss none: what it is counted into is told of that item.
            entry["x"] = first
        cascade.settle(entry)
        return
    lists = _lists(cascade, node, width)
    outputs = {name: make_list(refs, cascade.engine.store) for name, refs in lists.items()}
    cascade.settle(settling.in_place(view, node, "succeeded", outputs=outputs, gathered=True), outputs)


def _width(cascade: "Cascade", node: str) -> int:
    outcomes = cascade.outcomes_of(parents_of(cascade.view, [node]))
    return cascade.engine.resolver.width(cascade.view, node, outcomes)


def _lists(cascade: "Cascade", node: str, width: int) -> dict[str, list[Ref]]:
    """What the items made, by output; None for those that did not."""
    engine, view, missing = cascade.engine, cascade.view, none_ref()
    lists: dict[str, list[Ref]] = {port["name"]: [] for port in view.task(node)["interface"]["outputs"]}
    for start in range(0, width, CHUNK):
        items = [f"{node}.{item}" for item in range(start, min(start + CHUNK, width))]
        texts: list[Any] = engine.client.hmget(keys.outcomes(view.run), items)
        for item, text in zip(items, texts, strict=True):
            made = json.loads(text) if text else cascade.outcomes.get(item) or {}
            for name, refs in lists.items():
                refs.append(made.get(name, missing))
    return lists
