"""What a process keeps of a run between messages: its plan, loaded once by digest, and the facts fixed at its start.

The engine asks `Views.of(run)` for whatever a message's ids stand for. Owns both caches; refuses to hold anything that
can change while the run lives (states and outcomes are asked of Redis each time).
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from redis import Redis

from app.compiler.plan import Plan
from celesta.errors import NotFoundError
from celesta.store.base import Store
from workers.engine import keys

T = TypeVar("T")

PLANS_KEPT = 16
RUNS_KEPT = 256

SEND, ASK = 0, 1
"""How a step that became ready goes on: straight into the queue, or first through the cascade."""
JOIN, OFF = 1, 2
"""How a step counts for one that waits for it, where it is not as ever: a merge runs with skipped parents too; a branch
that came out otherwise counts as skipped."""
Kid = tuple[str, int, int] | tuple[str, int, int, int]
"""A step that waits for another: its node, how many settled parents it needs, SEND or ASK, and JOIN or OFF."""
Chosen = bool | frozenset[str]
"""All steps or none, or those of these paths; a path stands for the steps of the plan that its step opened, too."""


@dataclass(frozen=True)
class Frame:
    """One plan inside a run: the run's own, or one that a step opened. Its nodes and paths begin with its prefixes."""

    plan: Plan
    inputs: dict[str, Any]
    no_cache: Chosen = False
    refresh: Chosen = False
    rebuilt: bool = False
    reuses: bool = False
    """The run takes results over from another."""
    again: frozenset[str] = frozenset()
    """Paths of steps that run although the cache may know them."""
    prefix: str = ""
    path_prefix: str = ""
    _kids: dict[int, list[Kid]] = field(default_factory=dict, compare=False)

    def inside(self, view: "View", opener: str, plan: Plan, inputs: dict[str, Any]) -> "Frame":
        """The frame of a plan that a step opened; what the run was told holds for it too."""
        return replace(
            self, plan=plan, inputs=inputs, prefix=f"{opener}/", path_prefix=f"{view.path(opener)}/", _kids={}
        )

    def node(self, index: int) -> str:
        return f"{self.prefix}{index}"

    def asks(self, index: int) -> bool:
        """Whether the step is looked at before it is sent: it may be cached, is mapped, or needs no worker."""
        plan, looks = self.plan, self.rebuilt or self.reuses
        decided = plan.mapped(index) is not None or plan.in_place(index) is not None or plan.waits(index) is not None
        return looks or decided or self.caches(index)

    def caches(self, index: int) -> bool:
        return self.plan.steps[index].get("cache") is not None and not self._is_chosen(self.no_cache, index)

    def reads_cache(self, index: int) -> bool:
        if self._is_chosen(self.refresh, index) or self.path_prefix + self.plan.steps[index]["path"] in self.again:
            return False
        return self.caches(index)

    def _is_chosen(self, chosen: Chosen, index: int) -> bool:
        if isinstance(chosen, bool):
            return chosen
        path = f"{self.path_prefix}{self.plan.steps[index]['path']}"
        return path in chosen or any(path.startswith(f"{one}/") for one in chosen)

    def children(self, index: int, taken: bool | None = None) -> list[Kid]:
        """What `advance.lua` counts a settled step into. `taken` is how a branch came out."""
        found = self._kids.get(index)
        if found is None:
            found = self._kids[index] = [self._kid(index, kid) for kid in self.plan.children[index]]
        if taken is None:
            return found
        plain = zip(found, self.plan.children[index], strict=True)
        return [kid if self.plan.allows(index, child, taken) else (*kid[:3], OFF) for kid, child in plain]

    def _kid(self, parent: int, kid: int) -> Kid:
        known = self.node(kid), self.plan.need[kid], ASK if self.asks(kid) else SEND
        guard = self.plan.guard(kid)
        joins = self.plan.in_place(kid) == "merge" and (guard is None or guard["step"] != parent)
        return (*known, JOIN) if joins else known

    def output_nodes(self) -> list[str]:
        """The steps whose outcomes make the outputs of this plan."""
        indexes = {index for binding in self.plan.outputs.values() for index in steps_in(binding)}
        return [self.node(index) for index in sorted(indexes)]


def _no_frame(view: Any, opener: str) -> Any:
    raise NotFoundError(f"run {view.run} has no plan below {opener}: Redis has lost it")


@dataclass(frozen=True)
class View:
    """One run as it was started: everything that its messages leave out. What a node names is asked by the node."""

    run: str
    epoch: int
    project: str
    root: Frame
    load: Callable[["View", str], Frame] = field(default=_no_frame, compare=False, repr=False)
    _frames: dict[str, Frame] = field(default_factory=dict, compare=False)

    @property
    def plan(self) -> Plan:
        """The run's own plan."""
        return self.root.plan

    @property
    def rebuilt(self) -> bool:
        return self.root.rebuilt

    def frame(self, node: str) -> Frame:
        """The plan that a node is a step of, in its place. Raises `NotFoundError` when Redis lost the run."""
        opener = opener_of(node)
        if opener is None:
            return self.root
        if opener not in self._frames:
            self._frames[opener] = self.load(self, opener)
        return self._frames[opener]

    def put_frame(self, opener: str, frame: Frame) -> None:
        """Makes a plan known that is being opened here."""
        self._frames[opener] = frame

    def is_dynamic(self, node: str) -> bool:
        """Whether a step, or one item, may open a plan of its own."""
        return self.mapped(node) is None and self.task(node)["kind"] == "dynamic"

    def step(self, node: str) -> dict[str, Any]:
        """The plan's document of a step, also of the mapped step that a node is an item of."""
        found: dict[str, Any] = self.frame(node).plan.steps[index_of(node)]
        return found

    def task(self, node: str) -> dict[str, Any]:
        return self.frame(node).plan.task(index_of(node))

    def path(self, node: str) -> str:
        """What people call a node: `train[3]`."""
        frame = self.frame(node)
        return frame.path_prefix + frame.plan.path(local(node))

    def mapped(self, node: str) -> Sequence[str] | None:
        """The inputs that a mapped step runs over; None for a plain step and for an item."""
        return None if map_of(node) is not None else self.frame(node).plan.mapped(index_of(node))

    def waits(self, node: str) -> str | None:
        """What a step waits for that runs nothing; None for one that runs."""
        return self.frame(node).plan.waits(index_of(node))

    def children(self, node: str, taken: bool | None = None) -> list[Kid]:
        """What a settled step counts into; an item counts into its map only."""
        return [] if map_of(node) is not None else self.frame(node).children(index_of(node), taken)

    def may_fail(self, node: str) -> bool:
        """Whether this is, or lies below, an item of a map that may succeed without it."""
        if map_of(node) is not None and self.frame(node).plan.min_success_ratio(index_of(node)) < 1:
            return True
        opener = opener_of(node)
        return opener is not None and self.may_fail(opener)

    def in_place(self, node: str) -> str | None:
        return self.frame(node).plan.in_place(index_of(node))

    def caches(self, node: str) -> bool:
        return self.frame(node).caches(index_of(node))

    def shares(self, node: str) -> bool:
        """Whether the step's cache entries are for all projects."""
        return (self.step(node).get("cache") or {}).get("scope") == "organisation"

    def reads_cache(self, node: str) -> bool:
        return self.frame(node).reads_cache(index_of(node))


def steps_in(binding: dict[str, Any]) -> Iterator[int]:
    """The indexes of the steps that a binding names."""
    if "step" in binding:
        yield binding["step"]
    elif "list" in binding:
        for part in binding["list"]:
            yield from steps_in(part)
    elif "dict" in binding:
        for part in binding["dict"].values():
            yield from steps_in(part)


def opener_of(node: str) -> str | None:
    """The node of the step that opened the plan which this is a step of; None in the run's own plan."""
    opener, slash, _ = node.rpartition("/")
    return opener if slash else None


def local(node: str) -> str:
    """A node's name inside its own plan: `3.1` of `7/3.1`."""
    return node.rpartition("/")[2]


def index_of(node: str) -> int:
    """The index of a node in its own plan, of an item as of a step."""
    return int(local(node).partition(".")[0])


def item_of(node: str) -> int | None:
    """The place of an item in its map; None for a step."""
    _, dot, item = local(node).partition(".")
    return int(item) if dot else None


def map_of(node: str) -> str | None:
    """The node of the mapped step whose item this is; None for a step."""
    if "." not in local(node):
        return None
    return node.rpartition(".")[0]


def counted_into(node: str) -> str | None:
    """The node that waits for this one as a part of itself: the map of an item, else the opener of its plan."""
    return map_of(node) or opener_of(node)


class Views:
    """The plans and runs that this process has met lately."""

    def __init__(self, client: Redis, store: Store) -> None:
        self.client = client
        self.store = store
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._runs: OrderedDict[str, View] = OrderedDict()

    def plan(self, digest: str) -> Plan:
        found = self._plans.pop(digest, None)
        if found is None:
            found = Plan.from_bytes(self.store.get_blob(digest))
        _keep(self._plans, digest, found, PLANS_KEPT)
        return found

    def of(self, run: str, epoch: int | None = None) -> View | None:
        """None: Redis does not know the run. `epoch` tells of a rebuild that this process may have missed."""
        found = self._runs.pop(run, None)
        if found is None or (epoch is not None and found.epoch != epoch):
            found = self._load(run)
        if found is not None:
            _keep(self._runs, run, found, RUNS_KEPT)
        return found

    def forget(self, run: str) -> None:
        self._runs.pop(run, None)

    def _load(self, run: str) -> View | None:
        pipe = self.client.pipeline(transaction=False)
        pipe.hmget(keys.meta(run), ["epoch", "life", "project", "plan", "inputs", "options", "rebuilt"])
        pipe.hget(keys.MARKS, "life")
        (epoch, life, project, plan, inputs, options, rebuilt), now = pipe.execute()
        if epoch is None or life != now:
            return None
        chosen = json.loads(options)
        root = Frame(
            plan=self.plan(plan.decode()),
            inputs=json.loads(inputs),
            no_cache=_chosen(chosen.get("no_cache")),
            refresh=_chosen(chosen.get("refresh")),
            rebuilt=rebuilt == b"1",
            reuses="again" in chosen,
            again=frozenset(chosen.get("again", ())),
        )
        return View(run=run, epoch=int(epoch), project=project.decode(), root=root, load=self._frame)

    def _frame(self, view: View, opener: str) -> Frame:
        text = self.client.hget(keys.outcomes(view.run), f"{opener}/")
        if text is None:
            self.forget(view.run)
            _no_frame(view, opener)
        record = json.loads(text)
        return view.root.inside(view, opener, self.plan(record["plan"]), record["inputs"])


def _chosen(option: Any) -> Chosen:
    return frozenset(option) if isinstance(option, list) else bool(option)


def _keep(kept: OrderedDict[str, T], name: str, value: T, most: int) -> None:
    kept[name] = value
    while len(kept) > most:
        kept.popitem(last=False)
