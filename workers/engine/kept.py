"""The step that a worker goes on with: without a message, and claimed by the transition that makes it ready.

Its worker gives an empty `Kept` to `complete`, whose cascade asks here which step to claim and what to hand over. At
most one for each completion; there is none where what is ready first is not known here, or the run may send nothing.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celesta.errors import StoreError
from workers.engine import events
from workers.engine.advancing import admission
from workers.engine.bindings import Ref, parents_of
from workers.engine.caching import Taken
from workers.engine.settling import Entry, Finding
from workers.engine.views import SEND

if TYPE_CHECKING:
    from workers.engine.cascade import Cascade

Document = dict[str, Any]


@dataclass
class Kept:
    """The step that a worker goes on with: its own completion made it ready, and claimed it in the same call."""

    owner: str
    node: str | None = None
    """None: nothing that became ready could be kept."""
    token: str = ""
    outcomes: dict[str, dict[str, Ref]] = field(default_factory=dict)
    """The outputs of its parents."""
    finding: Finding | None = None
    taken: Taken | None = None
    """What the cache said of its key, where that was asked already."""


def lets_through(cascade: "Cascade", nodes: list[str]) -> bool:
    """Whether this is one step that may be claimed before anybody looks whether it is cached; then it is let go."""
    view = cascade.view
    if len(nodes) != 1 or view.root.reuses or not view.reads_cache(nodes[0]) or not _knows_parents(cascade, nodes[0]):
        return False
    try:
        finding = cascade.finding(nodes[0])
    except StoreError:
        return False
    if finding is None:
        return False
    cascade.missed[nodes[0]] = finding
    cascade.admits.append(admission(view, nodes[0]))
    return True


def claim(cascade: "Cascade", keep: Kept, settles: list[Entry], admits: list[Document]) -> Document | None:
    """What `advance.lua` is to claim: the first step that is to be sent, if its inputs are known here."""
    if keep.node is not None:
        return None
    plain = (entry["n"] for entry in admits if not {"park", "hold", "ask"} & entry.keys())
    node = next(plain, None) or next((kid[0] for entry in settles for kid in entry["kids"] if kid[2] == SEND), None)
    if node is None or not _knows_parents(cascade, node):
        return None
    return {"n": node, "attempt": 1, "owner": keep.owner, "e": events.running(cascade.view, node, 1, keep.owner)}


def take(cascade: "Cascade", keep: Kept, node: str, token: str) -> None:
    """It was claimed: what is known of it goes to its worker."""
    keep.node, keep.token = node, token
    keep.outcomes = {parent: cascade.outcomes[parent] for parent in parents_of(cascade.view, [node])}
    keep.finding = cascade.missed.get(node)


def _knows_parents(cascade: "Cascade", node: str) -> bool:
    return all(parent in cascade.outcomes for parent in parents_of(cascade.view, [node]))
