"""The worklist of steps that became ready and are looked at before a message is sent.

Hits, gathers, skips and steps after a failure settle in place and may make more steps ready, so this goes on until
only work is left. `complete`, `start`, the claim and the reconciler feed it. It looks ahead: what a chain of hits makes
ready is known here before the script says so, and is settled in the same call, at most `CHUNK` entries at a time.

A step that cannot be decided now (the store does not answer) is `asking` from then on; its deadline brings it back.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

from celesta.codecs import encode, gone
from celesta.errors import CelestaError, Skipped, StoreError
from celesta.runtime.failures import told_error
from celesta.spec.conditions import decide
from workers.engine import adopting, caching, expanding, kept, keys, mapping, settling, waiting
from workers.engine.advancing import admission, advance, top_up
from workers.engine.bindings import Ref, parents_of
from workers.engine.core import CHUNK, Engine
from workers.engine.kept import Kept
from workers.engine.remaining import remaining
from workers.engine.settling import Adopted, Entry, Finding
from workers.engine.views import Frame, View, index_of, map_of
from workers.engine.waiting import Waits

log = logging.getLogger(__name__)

Ask = list[Any]
"""[node, verdict, ..] as the scripts answer it."""


@dataclass
class Cascade:
    """One walk. `adopted`, `waits` and `hold` are a rebuild's: results to take over, what is known of steps that wait,
    and to wait a lease before sending."""

    engine: Engine
    view: View
    adopted: Mapping[str, Adopted] = field(default_factory=dict)
    waits: Waits = field(default_factory=Waits)
    hold: bool = False
    keep: Kept | None = None

    def __post_init__(self) -> None:
        self.answers: list[str] = []
        self.status = "ok"
        self.opened: bool | None = None
        """Whether what the last call was to open is open, by it or before it."""
        self.began: bool | None = None
        """Whether it was by it."""
        self.control = ""
        self.over = False
        self.left = False
        """Whether a rebuild could not decide a step which only the results that it knows can."""
        self._know_nothing()

    def _know_nothing(self) -> None:
        """At the start; and when a result was refused, by which steps were looked at ahead: they are asked anew."""
        self.asks: list[Ask] = []
        self.seen: set[str] = set()
        self.outcomes: dict[str, dict[str, Ref]] = {}
        self.missed: dict[str, Finding] = {}
        """What was looked up in the cache and is not there, or most likely is not."""
        self.settles: list[Entry] = []
        self.admits: list[dict[str, Any]] = []
        self.good: set[str] = set()
        self.lacks: dict[str, int] = {}
        """How many of a step's parents are not good yet, once one of them is."""

    def add(self, asks: Iterable[Ask]) -> "Cascade":
        """Takes steps up; each once for each thing asked of it."""
        for ask in asks:
            mark = f"{ask[0]} {ask[1] if ask[1] in ('gather', 'reopen') else ''}"
            if mark not in self.seen:
                self.seen.add(mark)
                self.asks.append(ask)
        return self

    def stop(self) -> "Cascade":
        """The run has been cancelled, or is ended by a failure: all that waits is cancelled."""
        self.admits.clear()
        self.settles += remaining(self.engine, self.view)
        return self

    def begin(self, computed: bool = False) -> None:
        """The first calls of the script, with what becomes ready by them as far as that is known here.

        So the next step of a chain is looked up in the cache before its parent counts, and sent in the same call.
        One that the caller goes on with, after a step that was `computed`, is not looked up: it is hardly ever there,
        and the cache is asked when its flight is taken.
        """
        plain = [ask[0] for ask in self.asks if not self._is_decided_here(ask[0])]
        self.asks = [ask for ask in self.asks if self._is_decided_here(ask[0])]
        if not (computed and self.keep is not None and kept.lets_through(self, plain)):
            self._look_up(plain)
        self.flush_all()

    def run(self) -> bool:
        """Goes on until nothing is left to ask. True: the run is over."""
        while self.asks or self.settles or self.admits:
            if not self.asks or len(self.settles) + len(self.admits) >= CHUNK:
                self.flush()
                continue
            batch, self.asks = self.asks[:CHUNK], self.asks[CHUNK:]
            plain = []
            for ask in batch:
                if ask[1] == "run" and not self._is_decided_here(ask[0]):
                    plain.append(ask[0])
                else:
                    self._decide(ask)
            self._look_up(plain)
        return self.over

    def flush(self, **more: Any) -> None:
        """One script call with what was decided so far; what became ready is sent, or asked."""
        settles, self.settles = self.settles[:CHUNK], self.settles[CHUNK:]
        room = 0 if self.settles else CHUNK
        admits, self.admits = self.admits[:room], self.admits[room:]
        claim = kept.claim(self, self.keep, settles, admits) if self.keep is not None else None
        reply = advance(self.engine, self.view, settles, admits, claim=claim, **more)
        self.status = reply["status"]
        self.answers += reply.get("ok") or []
        self.opened, self.began = reply.get("opened"), reply.get("began")
        self.control = reply.get("control", "")
        self.over = self.over or bool(reply.get("over"))
        if self.keep is not None and claim and reply.get("claimed"):
            kept.take(self, self.keep, claim["n"], reply["claimed"])
        self.engine.publish(self.view.run, reply.get("send") or [])
        for run in reply.get("wake") or []:
            top_up(self.engine, run)
        if reply.get("refused"):
            self._know_nothing()
        self.add(reply.get("asks") or [])
        if reply.get("stop"):
            self.stop()

    def _is_decided_here(self, node: str) -> bool:
        """A mapped step opens, a branch decides, a question waits: none of them is ever sent."""
        view = self.view
        return view.mapped(node) is not None or view.in_place(node) is not None or view.waits(node) is not None

    def admission(self, node: str) -> dict[str, Any]:
        """The entry of a step that is to be sent; a rebuild holds it first."""
        return admission(self.view, node, self.waits.hold(self.view, node) if self.hold else None)

    def begin_steps(self, nodes: list[str]) -> None:
        """First steps of a plan: sent, or asked when they may settle without a worker."""
        for node in nodes:
            if self.view.frame(node).asks(index_of(node)):
                self.add([[node, "run"]])
            else:
                self.admits.append(self.admission(node))

    def begin_items(self, node: str, items: list[str]) -> None:
        """Some items of a map that is being opened."""
        self.seen.update(f"{item} " for item in items)
        if self.view.reads_cache(node) or self.adopted or self.view.root.reuses:
            self._look_up(items)
        else:
            self.admits.extend(self.admission(item) for item in items)

    # Decisions

    def _decide(self, ask: Ask) -> None:
        node, what = ask[0], ask[1]
        try:
            if what in ("cancelled", "skipped", "upstream_failed"):
                gathered = len(ask) > 2 and self.view.mapped(node) is not None
                self.settle(settling.in_place(self.view, node, what, gathered=gathered))
            elif what == "gather" and self.view.is_dynamic(node):
                expanding.gather(self, node, ask[2], ask[3])
            elif what == "gather":
                mapping.gather(self, node, ask[2], ask[3])
            elif what == "reopen" and self.view.is_dynamic(node):
                expanding.open_roots(self, node)
            elif self.view.in_place(node) is not None:
                self._branch(node)
            elif self.view.waits(node) is not None:
                self._park(node)
            else:
                mapping.open_map(self, node)
        except Skipped:
            self.settle(settling.in_place(self.view, node, "skipped"))
        except CelestaError as error:
            self._could_not(node, error)

    def _look_up(self, nodes: list[str]) -> None:
        """Plain steps and items: adopted, answered from the cache, or let through to be sent."""
        known = adopting.known(self, nodes)
        self._fetch(parents_of(self.view, [node for node in nodes if node not in known]))
        found: dict[str, Finding] = {}
        for node in nodes:
            if node in known:
                adopting.adopt(self, node, known[node])
                continue
            try:
                reads = self.view.reads_cache(node)
                found[node] = self._find(node) if reads else Finding({})
            except CelestaError as error:
                self._could_not(node, error)
        hits = self._hits(found)
        for node, finding in found.items():
            hit = hits.get(node)
            if hit is None:
                if finding.key:
                    self.missed[node] = finding
                self.admits.append(self.admission(node))
            else:
                self.hit(node, hit, finding)

    def _hits(self, found: dict[str, Finding]) -> dict[str, caching.Hit]:
        """The entries that answer these steps. One whose bytes are gone is none, and is dropped.

        Where the store cannot tell, the step is taken out of `found`: it cannot be decided now.
        """
        client, store, now = self.engine.client, self.engine.store, int(time() * 1000)
        slots = {n: caching.slot_of(self.view, n, finding.key) for n, finding in found.items() if finding.key}
        entries = zip(slots, caching.lookup(client, list(slots.values())), strict=True)
        hits = {node: hit for node, entry in entries if (hit := caching.fresh(self.view, node, entry, now))}
        try:
            lost = gone(store, {node: hit["outputs"] for node, hit in hits.items()})
        except StoreError as error:
            for node in hits:
                del found[node]
                self._could_not(node, error)
            return {}
        if lost:
            caching.drop(client, [slots[node] for node in lost])
        return {node: hit for node, hit in hits.items() if node not in lost}

    def hit(self, node: str, hit: caching.Hit, finding: Finding) -> None:
        """Settles a step by the result of another."""
        source = caching.source_of(hit)
        outputs = hit["outputs"]
        entry = settling.in_place(self.view, node, "cached", outputs=outputs, finding=finding, source=source)
        self.settle(entry, outputs)

    def finding(self, node: str) -> Finding | None:
        """What is known of one step's inputs; None where they cannot be bound. Raises `StoreError`."""
        self._fetch(parents_of(self.view, [node]))
        try:
            return self._find(node)
        except StoreError:
            raise
        except CelestaError:
            return None

    def _find(self, node: str) -> Finding:
        inputs = self.engine.resolver.inputs(self.view, node, self.outcomes)
        return caching.find(self.view, node, inputs)

    def _could_not(self, node: str, error: CelestaError) -> None:
        if error.retryable:
            log.warning("run %s: step %s cannot be decided now: %s", self.view.run, node, error)
            self.left = self.left or (self.hold and self._is_decided_here(node))
            self.admits.append(self._later(node))
            return
        self.settle(settling.in_place(self.view, node, "failed", error=told_error(error), finding=self.given(node)))

    def _later(self, node: str) -> dict[str, Any]:
        """The entry of a step that is asked again in a lease; a rebuild first looks for what was made meanwhile."""
        entry = self.admission(node)
        return entry if self.hold and not self._is_decided_here(node) else entry | {"ask": True}

    def given(self, node: str) -> Finding | None:
        """The digests of a step's inputs; None where they cannot be bound."""
        try:
            inputs = self.engine.resolver.inputs(self.view, node, self.outcomes)
        except CelestaError:
            return None
        return Finding({name: str(ref["digest"]) for name, ref in inputs.items()})

    # Branches

    def _branch(self, node: str) -> None:
        """A branch decides; a merge takes over what the side that was taken came to."""
        frame, index = self.view.frame(node), index_of(node)
        self._fetch(parents_of(self.view, [node]))
        step = frame.plan.steps[index]
        if "branch" in step:
            inputs = self.engine.resolver.inputs(self.view, node, self.outcomes)
            outputs = {"result": encode(decide(step["branch"], inputs), {"kind": "bool"}, self.engine.store)}
        else:
            self._fetch([frame.node(step["merge"])])
            inputs = outputs = self.engine.resolver.merged(frame, index, self.outcomes)
        finding = Finding({name: str(ref["digest"]) for name, ref in inputs.items()})
        self.settle(settling.in_place(self.view, node, "succeeded", outputs=outputs, finding=finding), outputs)

    # Waits

    def _park(self, node: str) -> None:
        """A step that waits: adopted, answered already, or put in flight until its time."""
        found = adopting.known(self, [node]).get(node)
        if found is not None:
            adopting.adopt(self, node, found)
        elif node in self.waits.answers:
            self.settle(*waiting.answered(self.view, node, self.waits.answers[node]))
        else:
            self._fetch(parents_of(self.view, [node]))
            inputs = self.engine.resolver.inputs(self.view, node, self.outcomes)
            until_ms = self.waits.until_ms.get(node)
            self.admits.append(waiting.park(self.engine, self.view, node, inputs, until_ms))

    def flush_all(self, **more: Any) -> None:
        while self.settles or self.admits:
            self.flush(**more)

    # What is known here

    def outcomes_of(self, nodes: list[str]) -> dict[str, dict[str, Ref]]:
        """What is known of outcomes, those of these nodes included."""
        self._fetch(nodes)
        return self.outcomes

    def settle(self, entry: Entry, outputs: dict[str, Ref] | None = None) -> None:
        """Keeps an entry for the next script call, and takes up the children that it alone makes ready."""
        self.settles.append(entry)
        if outputs is None:
            return
        node = entry["n"]
        self.outcomes[node] = outputs
        if map_of(node) is None and node not in self.good:
            self.good.add(node)
            self._look_ahead(node)

    def _look_ahead(self, node: str) -> None:
        frame = self.view.frame(node)
        for kid in frame.plan.children[index_of(node)]:
            name = frame.node(kid)
            lacks = self.lacks[name] = self.lacks.get(name, len(frame.plan.parents[kid])) - 1
            if lacks == 0 and frame.asks(kid) and self._allowed(frame, kid):
                self.add([[name, "run"]])

    def _allowed(self, frame: Frame, index: int) -> bool:
        """Whether the branch that a step hangs on, which has settled, lets it run."""
        guard = frame.plan.guard(index)
        return guard is None or self.outcomes[frame.node(guard["step"])]["result"]["inline"] == guard["is"]

    def _fetch(self, nodes: list[str]) -> None:
        """Gets outcomes that are not known here yet."""
        missing = [node for node in nodes if node not in self.outcomes]
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            found = self.engine.client.hmget(keys.outcomes(self.view.run), part)
            self.outcomes.update({n: json.loads(text) for n, text in zip(part, found, strict=True) if text})
