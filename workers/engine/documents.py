"""The step document: what an executor needs to know of one attempt (contracts, section 6)."""

from collections.abc import Mapping
from typing import Any

from celesta import retries
from celesta.runtime.enter import secret_sources
from celesta.tokens import number_of
from workers.engine.bindings import Ref
from workers.engine.views import View


def step_document(
    view: View,
    node: str,
    token: str,
    inputs: Mapping[str, Ref],
    cache_key: str | None,
    store_url: str,
    ran_out: int = 0,
) -> dict[str, Any]:
    """Made of the plan, the token and the bound inputs; the same for every executor.

    `ran_out` attempts ran out of memory before this one, which may use more of it when its author said so.
    """
    step, task, path, attempt = view.step(node), view.task(node), view.path(node), number_of(token)
    return {
        "step_document": 1,
        "run": view.run,
        "project": view.project,
        "node": node,
        "path": path,
        "token": token,
        "attempt": attempt,
        "idempotency_key": f"{view.run}/{path}",
        "kind": task["kind"],
        "entrypoint": task["entrypoint"],
        "command": task.get("command"),
        "bundle": task["bundle"] if "bundle" in task else view.frame(node).plan.bundle,
        "interface": task["interface"],
        "inputs": dict(inputs),
        "env": step.get("env") or {},
        "secrets": secret_sources(step.get("secrets") or ()),
        "resources": _resources(step, ran_out),
        "timeout_seconds": step.get("timeout_seconds"),
        "executor": step.get("executor"),
        "image": step.get("image"),
        "labels": step.get("labels") or {},
        "pod_template": step.get("pod_template"),
        "interruptible": bool(step.get("interruptible")) and not _is_last(step, attempt),
        "store_url": store_url,
        "cache_key": cache_key,
    }


def _resources(step: Mapping[str, Any], ran_out: int) -> dict[str, Any] | None:
    asked: dict[str, Any] | None = step.get("resources")
    if asked is None or not ran_out:
        return asked
    memory = asked.get("memory_bytes")
    grown = retries.memory_bytes(step.get("retry"), memory, ran_out)
    return asked | {"memory_bytes": grown, "memory_asked_bytes": memory}


def _is_last(step: Mapping[str, Any], attempt: int) -> bool:
    """Whether the system's budget may be used up: then the attempt goes where nothing takes it away."""
    return attempt > retries.budget(step.get("retry"), {"kind": "system"}).most
