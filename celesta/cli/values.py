"""Inputs on their way to a run: files and folders of this machine are stored, and go as references.

Whatever holds one is checked by its type as a whole before anything is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celesta.cli.inputs import LocalPath, holds_path
from celesta.errors import InputError, Problem

if TYPE_CHECKING:
    from celesta.store.base import Store


Document = dict[str, Any]


def split(values: Mapping[str, Any], interface: Mapping[str, Any], store: Store) -> tuple[Document, Document]:
    """`inputs` (plain JSON) and `input_refs` (what had to be stored) of a launch.

    Raises `InputError` with every problem of what holds a file.
    """
    from celesta.blobs import MemoryBlobs
    from celesta.codecs import from_plain

    types = {given["name"]: given["type"] for given in interface["inputs"]}
    plain = {name: value for name, value in values.items() if not holds_path(value)}
    held = {name: value for name, value in values.items() if name not in plain}
    problems: list[Problem] = []
    for name, value in held.items():
        try:
            from_plain(_with_refs(value, _unread), types[name], MemoryBlobs(), name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError("the inputs are not right", problems=problems)
    return plain, {
        name: from_plain(_with_refs(value, lambda path: _stored(path, store)), types[name], store, name)
        for name, value in held.items()
    }


def _with_refs(value: Any, ref: Callable[[Path], Document]) -> Any:
    """The value with the reference of each file in its place."""
    from celesta.codecs import Stored

    if isinstance(value, list):
        return [_with_refs(item, ref) for item in value]
    if isinstance(value, dict):
        return {name: _with_refs(item, ref) for name, item in value.items()}
    return Stored(ref(value.path)) if isinstance(value, LocalPath) else value


def _unread(path: Path) -> Document:
    """In the place of the reference of a file that is not stored yet."""
    return {"type": "directory" if path.is_dir() else "file", "digest": str(path), "size": 0, "blob": ""}


def _stored(path: Path, store: Store) -> Document:
    from celesta.codecs import encode
    from celesta.files import Directory, File

    return encode(Directory(path) if path.is_dir() else File(path), None, store)
