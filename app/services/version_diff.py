"""What differs between two versions: code line by line, the interface, the DAG, options and packages. Pure reading.

Code is the text of the bundles' files, which are read and never run; a file too large to compare by line is told by
name. `cache_explain` asks it for the code behind two digests.
"""

import difflib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from app.models import Version
from celesta.codecs import preview
from celesta.errors import StoreError
from celesta.store import Store
from celesta.types import spell

Document = dict[str, Any]
MOST_FILE_BYTES = 200_000
MOST_FILES = 2_000
MOST_DIFFS = 200
"""Files of which the lines are told; of more that differ the names."""
MOST_CHANGES = 1_000
"""Tasks, and steps, that are told of; of more that differ there is the number."""
TASK_OPTIONS = ("cache", "retry", "timeout_seconds", "resources", "env", "secrets", "executor", "image", "labels")


def diff(store: Store, left: Version, right: Version) -> Document:
    """From `left` to `right`; every part is a list that is empty when nothing of it differs."""
    a, b = (json.loads(store.get_blob(version.spec_blob)) for version in (left, right))
    tasks = list(_named(a["tasks"], b["tasks"], _task_changes))
    steps = list(_named(_steps(a), _steps(b), _step_changes))
    return {
        "from": left.digest,
        "to": right.digest,
        "identical": left.digest == right.digest,
        "code": code(store, left.bundle, right.bundle),
        "interface": list(interface(a["interface"], b["interface"])),
        "tasks": tasks[:MOST_CHANGES],
        "steps": steps[:MOST_CHANGES],
        "left_out": len(tasks[MOST_CHANGES:]) + len(steps[MOST_CHANGES:]),
        "outputs": list(_named(_wrapped(a["outputs"]), _wrapped(b["outputs"]), _fields)),
        "environment": list(_environment(a, b)),
    }


def code(store: Store, left: str | None, right: str | None) -> list[Document]:
    """The files that differ between two bundles: `{"file", "change", "diff"}`; of the first ones the lines."""
    if left == right:
        return []
    a, b = _Bundle(store, left), _Bundle(store, right)
    changed = [name for name in sorted(a.files.keys() | b.files.keys()) if a.told(name) != b.told(name)]
    return [
        {
            "file": name,
            "change": _change(name, a.files, b.files),
            "diff": text_diff(a.text(name), b.text(name), name) if place < MOST_DIFFS else "",
        }
        for place, name in enumerate(changed)
    ]


def text_diff(left: str | None, right: str | None, name: str) -> str:
    """A unified diff; empty where a side is no text, or too long."""
    sides = [side for side in (left, right) if side is not None]
    if any("\0" in side for side in sides):
        return ""
    a, b = ((side or "").splitlines() for side in (left, right))
    return "\n".join(difflib.unified_diff(a, b, f"a/{name}", f"b/{name}", lineterm=""))


def interface(left: Document, right: Document) -> Iterator[Document]:
    """Inputs and outputs that came, went, or have another type or default."""
    for side in ("inputs", "outputs"):
        a, b = ({port["name"]: _port(port) for port in one[side]} for one in (left, right))
        for change in _named(a, b, _fields):
            yield {"side": side[:-1], **change}


class _Bundle:
    """The files of a bundle, of which those are read that differ."""

    def __init__(self, store: Store, digest: str | None) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(store.get_blob(digest))) if digest else None
        except zipfile.BadZipFile as error:
            told = f"the bundle {digest} cannot be read: {error}"
            raise StoreError(told, code="corrupt_blob", retryable=False) from error
        entries = self._archive.infolist()[:MOST_FILES] if self._archive else []
        self.files = {entry.filename: entry for entry in entries}

    def told(self, name: str) -> tuple[int, int] | None:
        entry = self.files.get(name)
        return (entry.file_size, entry.CRC) if entry else None

    def text(self, name: str) -> str | None:
        """What is no text, or too long, is told by its size and checksum."""
        entry = self.files.get(name)
        if entry is None or self._archive is None:
            return None
        told = f"\0{entry.file_size} bytes, {entry.CRC:08x}"
        if entry.file_size > MOST_FILE_BYTES:
            return told
        try:
            with self._archive.open(entry) as file:
                data = file.read(MOST_FILE_BYTES + 1)  # what an archive says of its sizes need not be so
            return told if b"\0" in data or len(data) > MOST_FILE_BYTES else data.decode()
        except (UnicodeDecodeError, zipfile.BadZipFile):
            return told


def _change(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return "added" if name not in a else "removed" if name not in b else "changed"


def _named(a: Mapping[str, Document], b: Mapping[str, Document], changes: Any) -> Iterator[Document]:
    """What differs between two sets of named documents, in the order of the names."""
    for name in [*a, *(name for name in b if name not in a)]:
        if a.get(name) == b.get(name):
            continue
        found = list(changes(a[name], b[name])) if name in a and name in b else []
        if found or name not in a or name not in b:
            yield {"name": name, "change": _change(name, a, b), "fields": found}


def _fields(a: Document, b: Document) -> Iterator[Document]:
    for field in [*a, *(field for field in b if field not in a)]:
        if a.get(field) != b.get(field):
            yield {"field": field, "from": a.get(field), "to": b.get(field)}


def _port(port: Document) -> Document:
    default = port.get("default")
    return {"type": spell(port["type"]), "default": preview(default) if default else None}


def _task_changes(a: Document, b: Document) -> Iterator[Document]:
    if a["code_digest"] != b["code_digest"]:
        yield {"field": "code", "from": a["code_digest"][:12], "to": b["code_digest"][:12]}
    yield from _fields(*({name: task.get(name) for name in ("entrypoint", *TASK_OPTIONS)} for task in (a, b)))
    for change in interface(a["interface"], b["interface"]):
        yield {"field": f"{change['side']} {change['name']}", "from": None, "to": change["change"]}


def _steps(spec: Document) -> dict[str, Document]:
    return {step["path"]: step for step in spec["steps"]}


def _step_changes(a: Document, b: Document) -> Iterator[Document]:
    yield from _fields(_told(a), _told(b))


def _told(step: Document) -> Document:
    """A step as people know it: where its inputs come from, and its options."""
    inputs = {f"input {name}": spell_binding(binding) for name, binding in step["inputs"].items()}
    options = {f"option {name}": value for name, value in (step.get("options") or {}).items()}
    facts = {name: step.get(name) for name in ("task", "branch", "merge", "map", "guard")}
    return {**facts, "after": step.get("after") or None, **inputs, **options}


def _wrapped(outputs: Document) -> dict[str, Document]:
    return {name: {"from": spell_binding(binding)} for name, binding in outputs.items()}


def spell_binding(binding: Document) -> str:
    """Where a value comes from: `load.result`, `input lr`, or a preview of a constant."""
    match binding:
        case {"step": path, "output": output}:
            return f"{path}.{output}"
        case {"input": name}:
            return f"input {name}"
        case {"value": ref}:
            return preview(ref)
        case {"list": parts}:
            return f"[{', '.join(map(spell_binding, parts))}]"
        case {"dict": parts}:
            return f"{{{', '.join(f'{key}: {spell_binding(part)}' for key, part in parts.items())}}}"
    return "?"


def _environment(a: Document, b: Document) -> Iterator[Document]:
    left, right = ((spec.get("environment") or {"python": spec.get("python")}) for spec in (a, b))
    yield from _fields(*({name: side.get(name) for name in ("python", "platform")} for side in (left, right)))
    yield from _fields(left.get("packages") or {}, right.get("packages") or {})
