"""What a run is made of outside Redis: its row in the database, and the results that earlier epochs left behind.

The tasks make a `Source` of what `app.services.run_source` says; `recover` joins what the recorder wrote with the
manifests in the store. A recorded result is preferred, then one that an earlier rebuild took over, else the manifest of
the highest attempt.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celesta.store.base import Store
from celesta.tokens import order_of
from workers.engine.controlling import Action
from workers.engine.manifests import successes
from workers.engine.settling import Adopted
from workers.engine.waiting import Waits


@dataclass(frozen=True)
class Source:
    """A run as it was committed. `settled`, `waits` and `raise_epoch` reach the database; a fresh start asks none."""

    run: str
    project: str
    plan: str
    """Digest of the plan in the store."""
    inputs: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    epoch: int = 1
    status: str = "queued"
    control: Action = "run"
    """What somebody decided about the run."""
    started_ms: int | None = None
    """When it was first started; None before that."""
    pinned: Mapping[str, str] = field(default_factory=dict)
    """Tokens by node that an earlier rebuild took over; they win over any other manifest."""
    settled: Callable[[], Mapping[str, Adopted]] = dict
    reusable: Callable[[], Iterable[tuple[str, str, Adopted]]] | None = None
    """Node, path and result of each step of another run that this one may take over."""
    waits: Callable[[], Waits] = Waits
    raise_epoch: Callable[[Mapping[str, str]], int | None] = lambda adopted: 2
    """The next epoch, told what it takes over; None where the run has ended or is under another than `epoch` by now."""


def recover(store: Store, source: Source) -> dict[str, Adopted]:
    """Every result of the run that is durable, by node."""
    found = _manifests(store, source)
    found.update(source.settled())
    return found


def _manifests(store: Store, source: Source) -> dict[str, Adopted]:
    best: dict[str, tuple[tuple[bool, tuple[int, int]], Adopted]] = {}
    for result in successes(store, f"runs/{source.run}/"):
        node, token = str(result["node"]), str(result["token"])
        order = (source.pinned.get(node) == token, order_of(token))
        if node not in best or best[node][0] < order:
            best[node] = (order, Adopted("succeeded", token, result, unchecked=True))
    return {node: adopted for node, (_, adopted) in best.items()}
