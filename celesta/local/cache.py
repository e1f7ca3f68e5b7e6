"""The cache of local runs: which steps ask it, and its index under `CELESTA_HOME/local/index`, a small object an entry.

Called by `celesta.local.run`. The keys are those of a server's run; the entries are this home's own, and each belongs
to the store that its values are in. Also keeps how each run ended.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celesta.codecs import gone, preview
from celesta.errors import InputError, Problem
from celesta.nearest import nearest
from celesta.store import Store
from celesta.store.local import LocalStore

if TYPE_CHECKING:
    from celesta.local.run import LocalRun

Document = dict[str, Any]
Chosen = bool | list[str]
"""All steps or none, or those of these paths."""


def index_of(home: Path) -> LocalStore:
    return LocalStore(home / "local" / "index")


def entry_name(key: str) -> str:
    return f"cache/{key[:2]}/{key}.json"


def run_name(run: str) -> str:
    return f"runs/{run}.json"


class LocalCache:
    """The cache index and the records of local runs: one small object each, under `CELESTA_HOME/local/index`."""

    def __init__(self, home: Path, store: Store, no_cache: Chosen, refresh: Chosen) -> None:
        self.objects = index_of(home)
        self.store, self.no_cache, self.refresh = store, no_cache, refresh

    def is_off(self, step: str) -> bool:
        return _is_chosen(self.no_cache, step)

    def find(self, key: str | None, task: Document, step: str) -> Document | None:
        """The entry of this key, when its values are in the store of this run and it is not past its lifetime."""
        data = self.objects.get(entry_name(key)) if key and not _is_chosen(self.refresh, step) else None
        entry: Document = json.loads(data) if data else {}
        ttl_seconds = (task.get("cache") or {}).get("ttl_seconds")
        too_old = ttl_seconds is not None and entry.get("at_ms", 0) + ttl_seconds * 1000 <= time.time() * 1000
        if too_old or entry.get("store") != self.store.url or gone(self.store, {key: entry["outputs"]}):
            return None
        return entry

    def keep(
        self, key: str | None, entry: Document, components: Document | None, task: Document, inputs: Document
    ) -> None:
        """Keeps a result with what tells people later why a step was not answered by it: code, and what went in."""
        if key:
            more = {"store": self.store.url, "at_ms": time.time_ns() // 1_000_000, "components": components}
            more["source"] = self.store.put_blob((task.get("source") or "").encode())
            more["previews"] = {name: preview(ref) for name, ref in inputs.items()}
            self.objects.put(entry_name(key), json.dumps(entry | more).encode())

    def record(self, run: "LocalRun") -> None:
        """Keeps how a run ended."""
        document = run.document() | {"states": run.states, "keys": run.keys}
        self.objects.put(run_name(run.run_id), json.dumps(document).encode())


def require_steps(spec: Document, **options: Chosen) -> None:
    """Refuses options for steps that the spec does not have."""
    known = [step["path"] for step in spec["steps"]]
    problems = [
        Problem(option, f'there is no step "{step}"; {nearest(step, known)}')
        for option, chosen in options.items()
        for step in ([] if isinstance(chosen, bool) else chosen)
        if step not in known
    ]
    if problems:
        raise InputError(f'"{spec["name"]}" cannot run', problems)


def _is_chosen(chosen: Chosen, step: str) -> bool:
    return chosen if isinstance(chosen, bool) else step in chosen
