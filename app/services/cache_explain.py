"""Why a step was answered from the cache, or was not: in a sentence, with the components of its key and what it missed.

For the REST interface, the command and the step's page. Reads the record only. Writes nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.compiler.plan import Plan
from app.models import CacheEntry, Project, Run, Step
from app.models.columns import now
from app.services import cache_nearest
from app.services.session import Session
from app.services.step_inputs import StepInputs
from celesta.hashing import cache_components, cache_key
from celesta.store import Store

Document = dict[str, Any]
UNSETTLED = ("waiting", "running", "backoff")
NOT_RUN = ("skipped", "upstream_failed", "cancelled")


def explain(session: Session, store: Store, project: Project, run: Run, plan: Plan, step: Step) -> Document:
    """`verdict` is `hit`, `miss`, `off` (it is not cached here) or `open` (it has not come to that yet)."""
    found: Document = {
        "run_id": run.id,
        "node": step.node,
        "path": step.path,
        "task": step.task,
        "state": step.state,
        "key": step.cache_key,
        "source": step.source,
        "components": None,
        "nearest": None,
    }
    verdict, reason = _without_key(run, plan, step)
    if verdict == "keyed" and step.state == "cached":
        entry = _entry(session, project, step)
        return found | {"verdict": "hit", "reason": _hit(step), "components": entry.components if entry else None}
    if verdict == "keyed":
        return found | _miss(session, store, project, run, plan, step)
    return found | {"verdict": verdict, "reason": reason}


def _without_key(run: Run, plan: Plan, step: Step) -> tuple[str, str]:
    if step.cache_key:
        return "keyed", ""
    if step.state in UNSETTLED:
        return "open", f"It is {step.state}; the cache's answer is recorded when it has settled."
    if step.width is not None:
        return "off", f"It is a map; each of its items has its own answer, as {step.path}[0] has."
    if step.state in NOT_RUN:
        return "off", f"It was not run ({step.state.replace('_', ' ')}), so nobody asked the cache."
    if _option(run, "no_cache", step):
        return "off", "The run was told not to use the cache for it (--no-cache)."
    if (_planned(plan, step).get("cache")) is None:
        return "off", f'Its task is not cached: write @task(cache=True) for "{step.task}" to keep its results.'
    return "off", "It ended before its key was made, so nobody asked the cache."


def _hit(step: Step) -> str:
    source = step.source or {}
    other = f" in project {source['project']}" if source.get("project") else ""
    return f"A step with the same key had been computed: {source.get('path')} of run {source.get('run')}{other}."


def _miss(session: Session, store: Store, project: Project, run: Run, plan: Plan, step: Step) -> Document:
    entry = _entry(session, project, step)
    mine = (entry.components if entry else None) or _made_again(session, store, run, plan, step)
    found: Document = {"verdict": "miss", "components": mine}
    if _option(run, "refresh", step):
        return found | {"reason": "The run was told to compute it again (--refresh)."}
    same = _same_key(session, project, step)
    if same is not None:
        return found | {"reason": _lost(plan, step, same)}
    if mine is None:
        return found | {"reason": "No earlier result had its key. What the key was made of is not recorded any more."}
    entry = cache_nearest.nearest(session, project, step, mine, step.started_at or step.finished_at or now())
    if entry is None:
        return found | {"reason": f'No result of task "{step.task}" was in the cache before.'}
    nearest = cache_nearest.told(session, store, project, run, step, mine, entry)
    return found | {"reason": _differs(nearest), "nearest": nearest}


def _lost(plan: Plan, step: Step, same: Step) -> str:
    told = f"{same.path} of run {same.run_id}"
    ttl = (_planned(plan, step).get("cache") or {}).get("ttl_seconds")
    passed = step.started_at - same.finished_at if same.finished_at and step.started_at else timedelta()
    if ttl is not None and passed > timedelta(seconds=ttl):
        return f"The result with the same key, by {told}, was older than the {ttl:g} s that the task allows."
    return f"The result with the same key, by {told}, was not there any more: it was evicted, or its bytes were lost."


def _differs(nearest: Document) -> str:
    parts = [
        " ".join(filter(None, ({"env": "variable"}.get(one["component"], one["component"]), one["name"])))
        for one in nearest["differences"]
    ]
    whose = f"{nearest['path']} of run {nearest['run']}" if nearest["run"] else "another project's"
    return f"The nearest earlier result, {whose}, differs in: {', '.join(parts)}."


def _option(run: Run, name: str, step: Step) -> bool:
    """Whether an option of the run is for this step."""
    option = (run.options or {}).get(name) or False
    path = step.path.partition("[")[0]
    return any(path == one or path.startswith(f"{one}/") for one in option) if isinstance(option, list) else option


def _planned(plan: Plan, step: Step) -> Mapping[str, Any]:
    """The plan's document of a step; of one that another step opened, nothing."""
    return plan.steps[step.position] if "/" not in step.node and step.position < len(plan) else {}


def _entry(session: Session, project: Project, step: Step) -> CacheEntry | None:
    query = select(CacheEntry).where(CacheEntry.key == step.cache_key, cache_nearest.usable(project))
    return session.scalars(query.order_by(CacheEntry.created_at.desc()).limit(1)).one_or_none()


def _same_key(session: Session, project: Project, step: Step) -> Step | None:
    """The last step of the project that had this key and a result when this one began."""
    query = (
        select(Step)
        .join(Run, Run.id == Step.run_id)
        .where(Step.cache_key == step.cache_key, Step.state.in_(("succeeded", "cached")))
        .where(Run.project_id == project.id, Step.finished_at < (step.started_at or step.finished_at))
        .where((Step.run_id != step.run_id) | (Step.node != step.node))
        .order_by(Step.finished_at.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def _made_again(session: Session, store: Store, run: Run, plan: Plan, step: Step) -> Document | None:
    """The components of a step without an entry, such as one that failed; None where they do not give its key."""
    planned = _planned(plan, step)
    if not planned or planned["cache"] is None:
        return None
    inputs = StepInputs(session, run, plan, [step], store).of(step)
    refs = {name: {"type": value["type"], "digest": value["digest"]} for name, value in inputs.items()}
    if any(ref["type"] is None for ref in refs.values()) or (
        planned["cache"].get("environment") and not planned["image"]
    ):
        return None
    components = cache_components(plan.task(step.position), refs, planned.get("image"), planned)
    return components if cache_key(components) == step.cache_key else None
