"""Steps that open a plan of their own: what a dynamic step traced is compiled, and becomes a chord of the run.

The producer's attempt names the spec that it traced in its result; here it is checked and compiled, never run. Its
steps lie below the producer (`7/2`), are counted into it as items are into a map, and it settles when all of them have.
Refuses a spec that cannot run, and depth and size without end: then the producer has failed.
"""

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.compiler import compile_plan
from app.compiler.link import references_of
from app.compiler.plan import Plan
from app.compiler.schema import MOST_STEPS, load_spec
from celesta.errors import CelestaError, SpecError, StoreError
from celesta.hashing import canonical
from celesta.rules import require_depth, told_of_parts
from celesta.runtime.failures import plain_error, told_error
from celesta.store.base import is_digest
from workers.engine import events, keys, settling
from workers.engine.core import CHUNK, Engine
from workers.engine.limits import MOST_LANES, limits_inside
from workers.engine.manifests import read
from workers.engine.settling import Ended
from workers.engine.views import View

if TYPE_CHECKING:
    from workers.engine.cascade import Cascade

log = logging.getLogger(__name__)

Document = dict[str, Any]


def expand(cascade: "Cascade", ended: Ended) -> str:
    """Opens what a dynamic step traced. `ok`, `stale` when the attempt is not the accepted one, `done` when its plan is
    open already, or `failed`.

    Raises `StoreError` while the store does not answer: then nothing has changed, and the attempt's lease brings it
    back.
    """
    engine, view, node = cascade.engine, cascade.view, ended.node
    try:
        digest, plan = _compiled(engine, view, ended)
    except CelestaError as error:
        if isinstance(error, StoreError) and error.retryable:
            raise
        return _refuse(cascade, ended, error)
    frame = view.root.inside(view, node, plan, {})
    opening = {
        "n": node,
        "t": ended.token,
        "due": ended.overdue or None,
        "need": settling.need_of(view, node),
        "width": len(plan),
        "e": events.dynamic_opened(view, node, ended.token, len(plan), digest),
        "frame": json.dumps({"plan": digest, "inputs": {}}),
        "limits": limits_inside(frame),
    }
    cascade.flush(open={name: value for name, value in opening.items() if value is not None})
    if cascade.status != "ok" or not cascade.opened:
        return "stale"
    if not cascade.began and not cascade.hold:  # Who opened it asks its steps, or a rebuild that knows what they made.
        return "done"
    view.put_frame(node, frame)
    open_roots(cascade, node)
    return "ok"


def open_roots(cascade: "Cascade", node: str) -> None:
    """Puts the first steps of an opened plan on their way; those that have begun are left alone."""
    frame = cascade.view.frame(f"{node}/0")
    for start in range(0, len(frame.plan.roots), CHUNK):
        cascade.begin_steps([frame.node(index) for index in frame.plan.roots[start : start + CHUNK]])
        cascade.flush_all()
    cascade.flush(opened=node)


def gather(cascade: "Cascade", node: str, bad: int, first: str) -> None:
    """All steps of an opened plan have settled: the producer has its outputs, or the first failure."""
    engine, view = cascade.engine, cascade.view
    record = engine.client.hget(keys.states(view.run), node)
    token = record.decode().split("|")[1] if record else ""
    outcome = read(engine.store, view, node, token) or {"metrics": []}
    if bad:
        found = json.loads(first) if first else {}
        path, why = found.get("path", view.path(node)), found.get("message", "it was not run")
        message = told_of_parts(bad, "steps", path, why)
        error = plain_error(str(found.get("type", "StepFailed")), message, str(found.get("kind", "user")))
        outcome |= {"status": "failed", "outputs": {}, "error": error}
    else:
        outcome |= {"status": "succeeded", "outputs": _outputs(cascade, node), "error": None}
    entry = settling.adopted(view, node, token, outcome)
    if first:  # What it is counted into is told of the step below that failed.
        entry["x"] = first
    cascade.settle(entry, None if bad else outcome["outputs"])


def _outputs(cascade: "Cascade", node: str) -> Document:
    frame = cascade.view.frame(f"{node}/0")
    return cascade.engine.resolver.outputs(frame, cascade.outcomes_of(frame.output_nodes()))


def _traced(engine: Engine, digest: Any, name: str) -> Any:
    """The JSON that an attempt names as what it traced: anything may stand there. Raises `SpecError`, `StoreError`."""
    if not is_digest(digest):
        raise SpecError(f'"{name}" names {digest!r:.80} as what it traced, which is no digest')
    try:
        return json.loads(engine.store.get_blob(digest))
    except (ValueError, RecursionError):
        raise SpecError(f'what "{name}" traced is not JSON') from None


def _compiled(engine: Engine, view: View, ended: Ended) -> tuple[str, Plan]:
    node, name = ended.node, view.task(ended.node)["name"]
    require_depth(node, name)
    spec = load_spec(_traced(engine, ended.outcome["dynamic"], name))
    known = int(engine.client.hget(keys.meta(view.run), "known") or 0)
    if known + len(spec["steps"]) > MOST_STEPS:
        raise SpecError(f'"{name}" traced {len(spec["steps"])} steps: a run may have {MOST_STEPS} in all')
    task = view.task(node)
    plan = _plan_of(name, spec, task["bundle"] if "bundle" in task else view.frame(node).plan.bundle)
    opened = Plan(plan)
    _require_lanes(engine, view, name, opened)
    return engine.store.put_blob(canonical(plan)), opened


def _plan_of(name: str, spec: Document, bundle: str | None) -> Document:
    _require_no_reference(name, spec)
    _require_own_code(name, spec, bundle)
    try:
        return compile_plan(spec | {"bundle": bundle})  # its code is the producer's, whatever the spec says
    except Exception as error:  # A step wrote it: whatever the compiler makes of it is that step's failure.
        log.exception('what "%s" traced passed as a spec, and has no plan', name)
        raise SpecError(f'what "{name}" traced cannot be compiled: {error!r:.200}') from error


def _require_no_reference(name: str, spec: Document) -> None:
    """Registered versions are put in place where a workflow is registered, under the rights of who does that."""
    called = [f"{reference} ({path})" for reference, path in references_of(spec).items()]
    if called:
        raise SpecError(
            f'"{name}" traced a reference to {", ".join(called[:20])}, which a dynamic step cannot call: call '
            "reference() in the workflow around it"
        )


def _require_own_code(name: str, spec: Document, bundle: str | None) -> None:
    """A digest is a name and not a right: a step may not have another one run, or read, a bundle that it only names."""
    brought = [task for task, document in spec["tasks"].items() if document.get("bundle", bundle) != bundle]
    if brought:
        raise SpecError(
            f'"{name}" traced task "{brought[0]}" with a bundle of its own: a dynamic step calls tasks of the code '
            "that it runs from"
        )


def _require_lanes(engine: Engine, view: View, name: str, plan: Plan) -> None:
    maps = sum(1 for step in plan.steps if step.get("concurrency"))
    if maps and maps + int(engine.client.hget(keys.limits(view.run), "#") or 0) > MOST_LANES:
        raise SpecError(f'"{name}" maps with a concurrency of its own: a run may have {MOST_LANES} such maps in all')


def _refuse(cascade: "Cascade", ended: Ended, error: CelestaError) -> str:
    outcome = ended.outcome | {"status": "failed", "outputs": {}, "error": told_error(error)}
    if cascade.hold:  # A rebuild knows the attempt by its result alone: no step of this epoch is in its hands.
        cascade.settle(settling.adopted(cascade.view, ended.node, ended.token, outcome))
    else:
        cascade.settle(settling.attempt(cascade.view, replace(ended, outcome=outcome)))
    cascade.flush_all()
    return "failed"
