"""Why a step of a local run was a hit or a miss, and taking entries out: `celesta cache` without a server.

Reads the index that `celesta.local.cache` keeps under `CELESTA_HOME/local/index`. What it tells has the form of the
REST interface (contracts, section 12), so that the command prints both alike.
"""

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

from celesta.errors import InputError, NotFoundError, Problem, StoreError
from celesta.hashing import key_differences
from celesta.local.cache import entry_name, index_of, run_name
from celesta.nearest import nearest as nearest_name
from celesta.store import open_store

LOOKED_AT = 200
"""The newest entries of a task that are compared."""
Document = dict[str, Any]


def has_run(home: Path, run: str) -> bool:
    """Whether it was a local run of this home."""
    return run.isalnum() and index_of(home).size(run_name(run)) is not None


def explain(home: Path, run: str, step: str) -> Document:
    """As `GET …/steps/NODE/cache`. Raises `NotFoundError` for a step that the run does not have."""
    record = json.loads(index_of(home).get(run_name(run)) or b"{}")
    states, asked = record.get("states") or {}, (record.get("keys") or {}).get(step)
    if step not in states:
        raise NotFoundError(f'the local run {run} has no step "{step}"; {nearest_name(step, states)}')
    found: Document = {"run_id": run, "path": step, "state": states[step], "key": None, "source": None, "nearest": None}
    if asked is None:
        return found | {
            "verdict": "off",
            "reason": "It did not ask the cache: its task is not cached, or it was told so.",
        }
    found |= asked
    if asked["source"]:
        told = f"{asked['source']['path']} of run {asked['source']['run']}"
        return found | {"verdict": "hit", "reason": f"A step with the same key had been computed: {told}."}
    return found | {"verdict": "miss"} | _miss(home, asked["key"])


def evict(home: Path, wanted: Mapping[str, Any], *, dry_run: bool) -> Document:
    """Takes out the entries that fit all that is wanted, as `POST …/cache/evict` does. Raises `InputError`."""
    if not wanted.get("all") and all(value is None for name, value in wanted.items() if name != "all"):
        raise InputError([Problem("", "say which entries: by task, run, age or size, or all of them")])
    tasks: dict[str, Counter[str]] = {}
    for name, entry in list(_entries(home)):
        if _fits(entry, wanted):
            counted = tasks.setdefault(_task(entry), Counter())
            counted.update(entries=1, bytes=_bytes(entry))
            if not dry_run:
                index_of(home).delete(name)
    rows: list[Document] = [{"task": task, **counted} for task, counted in sorted(tasks.items())]
    total = {name: sum(row[name] for row in rows) for name in ("entries", "bytes")}
    return total | {"pinned": 0, "dry_run": dry_run, "more": False, "tasks": rows}


def _miss(home: Path, key: str) -> Document:
    mine = json.loads(index_of(home).get(entry_name(key)) or b"{}")
    if not mine.get("components"):
        return {
            "reason": "No earlier result had its key. What the key was made of is not kept: it failed, or was evicted."
        }
    earlier = [
        entry
        for _, entry in _entries(home)
        if _task(entry) == _task(mine) and entry["components"] != mine["components"] and entry["at_ms"] <= mine["at_ms"]
    ]
    newest = sorted(earlier, key=lambda entry: -entry["at_ms"])[:LOOKED_AT]
    near = min(newest, key=lambda entry: len(list(_differences(entry, mine))), default=None)
    if near is None:
        return {"reason": f'No result of task "{_task(mine)}" was in the cache before.'}
    changes = [_told(near, mine, *change) for change in _differences(near, mine)]
    names = ", ".join(" ".join(filter(None, (one["component"], one["name"]))) for one in changes)
    at = datetime.fromtimestamp(near["at_ms"] / 1000, UTC).isoformat(timespec="milliseconds")
    nearest = {"run": near["run"], "path": near["path"], "created_at": at, "differences": changes}
    reason = f"The nearest earlier result, {near['path']} of run {near['run']}, differs in: {names}."
    return {"reason": reason, "nearest": nearest, "components": mine["components"]}


def _differences(before: Document, after: Document) -> Iterator[tuple[str, str | None, Any, Any]]:
    return key_differences(before["components"], after["components"])


def _told(before: Document, after: Document, component: str, name: str | None, a: Any, b: Any) -> Document:
    change: Document = {"component": component, "name": name, "from": a, "to": b}
    if component == "input":
        sides = ((before, a), (after, b))
        shown = [value and _input(entry, str(name), *value) for entry, value in sides]
        change |= {"from": shown[0], "to": shown[1]}
    elif component == "code":
        old, new = (_source(entry).splitlines() for entry in (before, after))
        change["diff"] = "\n".join(difflib.unified_diff(old, new, "before", "after", lineterm=""))
    return change


def _input(entry: Document, name: str, kind: str, digest: str) -> Document:
    return {"type": kind, "digest": digest, "preview": (entry.get("previews") or {}).get(name)}


def _source(entry: Document) -> str:
    try:
        return open_store(entry["store"]).get_blob(entry["source"]).decode()
    except (StoreError, KeyError):
        return ""


def _entries(home: Path) -> Iterator[tuple[str, Document]]:
    index = index_of(home)
    for name in index.list("cache/"):
        entry = json.loads(index.get(name) or b"{}")
        if entry.get("components"):
            yield name, entry


def _task(entry: Document) -> str:
    return str(entry["components"]["task"])


def _bytes(entry: Document) -> int:
    return sum(int(ref["size"]) for ref in entry["outputs"].values())


def _fits(entry: Document, wanted: Mapping[str, Any]) -> bool:
    older, larger = wanted.get("older_than_seconds"), wanted.get("larger_than_bytes")
    return (
        wanted.get("task") in (None, _task(entry))
        and wanted.get("run") in (None, entry["run"])
        and (older is None or entry["at_ms"] / 1000 < time() - older)
        and (larger is None or _bytes(entry) > larger)
    )
