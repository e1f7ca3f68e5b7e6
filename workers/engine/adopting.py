"""Results that are taken over: a step that a rebuild, or an earlier run, knows the end of settles by it.

The cascade asks here before it looks into the cache. Refuses a result that lay in the store and is not one of its step,
since any step may write there.
"""

from time import time
from typing import TYPE_CHECKING

from workers.engine import caching, expanding, settling
from workers.engine.bindings import Ref, parents_of
from workers.engine.manifests import is_result, read
from workers.engine.reusing import reusable
from workers.engine.settling import Adopted, Ended, Finding

if TYPE_CHECKING:
    from workers.engine.cascade import Cascade


def known(cascade: "Cascade", nodes: list[str]) -> dict[str, Adopted]:
    """What is taken over for these steps: what a rebuild found, else what an earlier run made of them."""
    found = {node: one for node in nodes if (one := _of_earlier_epoch(cascade, node)) is not None}
    return _of_earlier_run(cascade, nodes) | found if cascade.view.root.reuses else found


def adopt(cascade: "Cascade", node: str, found: Adopted) -> None:
    """Settles a step by what it came to. One that traced a plan has that opened again."""
    if found.token is not None and found.opens and _reopened(cascade, node, found.token):
        return
    view, outputs = cascade.view, found.outcome.get("outputs") or {}
    finding = _indexed(cascade, node, found, outputs)
    if found.token is None or found.state == "cached":
        error, source = found.outcome.get("error"), found.source
        entry = settling.in_place(view, node, found.state, outputs=outputs, error=error, finding=finding, source=source)
    else:
        entry = settling.adopted(view, node, found.token, found.outcome, finding)
    cascade.settle(entry, outputs if found.state in ("succeeded", "cached") else None)


def _of_earlier_epoch(cascade: "Cascade", node: str) -> Adopted | None:
    found = cascade.adopted.get(node)
    if found is None or not found.unchecked or is_result(cascade.view, node, str(found.token), found.outcome):
        return found
    return None


def _of_earlier_run(cascade: "Cascade", nodes: list[str]) -> dict[str, Adopted]:
    """The body of a dynamic step that runs anew may trace something else under the same paths: below one, only what
    was given the same is taken over."""
    found = reusable(cascade.engine, cascade.view, nodes)
    below = [node for node in found if "/" in node]
    cascade.outcomes_of(parents_of(cascade.view, below))
    for node in below:
        given = cascade.given(node)
        if given is None or given.input_digests != found[node].outcome.get("input_digests"):
            del found[node]
    return found


def _indexed(cascade: "Cascade", node: str, found: Adopted, outputs: dict[str, Ref]) -> Finding:
    """What a taken-over step was made of. Its result is in the cache again, or a step that was answered by it, and
    that nobody has recorded yet, would be computed: and perhaps come to something else than what its own followers
    were given."""
    finding = Finding(found.outcome.get("input_digests") or {}, found.key)
    if found.state != "succeeded" or found.token is None or not cascade.view.caches(node):
        return finding
    finding = finding if found.key else (cascade.finding(node) or finding)
    if finding.key is not None:
        entry = caching.record(cascade.view, node, found.token, outputs, int(time() * 1000))
        caching.put(cascade.engine.client, caching.slot_of(cascade.view, node, finding.key), entry)
    return finding


def _reopened(cascade: "Cascade", node: str, token: str) -> bool:
    """Whether an earlier attempt at a dynamic step traced a plan, which is opened again if it still may be."""
    if not cascade.view.is_dynamic(node):
        return False
    outcome = read(cascade.engine.store, cascade.view, node, token)
    if outcome is None or "dynamic" not in outcome:
        return False
    cascade.flush_all()
    expanding.expand(cascade, Ended(node, token, outcome))
    return True
