"""The Celesta SDK: what users import, and what runs inside every step.

The names below are the whole surface. They are found when first used, so that `import celesta`, which every step
process does, costs nothing but this file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celesta.branching import when
    from celesta.client import launch
    from celesta.containers import container_task
    from celesta.dynamics import dynamic
    from celesta.files import Directory, File
    from celesta.graph import unmapped
    from celesta.options import Cache, Resources, Retry
    from celesta.references import reference
    from celesta.runtime.context import current
    from celesta.tasks import task
    from celesta.waits import approve, sleep, wait_for
    from celesta.webhooks import webhook
    from celesta.workflows import workflow

__version__ = "0.1.0"

_HOMES = {
    "Cache": "celesta.options",
    "Directory": "celesta.files",
    "File": "celesta.files",
    "Resources": "celesta.options",
    "Retry": "celesta.options",
    "approve": "celesta.waits",
    "container_task": "celesta.containers",
    "current": "celesta.runtime.context",
    "dynamic": "celesta.dynamics",
    "launch": "celesta.client",
    "reference": "celesta.references",
    "sleep": "celesta.waits",
    "task": "celesta.tasks",
    "unmapped": "celesta.graph",
    "wait_for": "celesta.waits",
    "webhook": "celesta.webhooks",
    "when": "celesta.branching",
    "workflow": "celesta.workflows",
}
__all__ = [
    "Cache", "Directory", "File", "Resources", "Retry", "approve", "container_task", "current", "dynamic", "launch",
    "reference", "sleep", "task", "unmapped", "wait_for", "webhook", "when", "workflow",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'celesta' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
