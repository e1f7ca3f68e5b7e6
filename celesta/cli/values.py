"""Inputs on their way to a run: files and folders of this machine are stored, and go as references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celesta.cli.inputs import LocalPath

if TYPE_CHECKING:
    from celesta.store.base import Store


Document = dict[str, Any]


def split(values: Mapping[str, Any], interface: Mapping[str, Any], store: Store) -> tuple[Document, Document]:
    """`inputs` (plain JSON) and `input_refs` (what had to be stored) of a launch."""
    types = {given["name"]: given["type"] for given in interface["inputs"]}
    plain = {name: value for name, value in values.items() if not _has_path(value)}
    refs = {name: _stored(value, types[name], store) for name, value in values.items() if name not in plain}
    return plain, refs


def _has_path(value: Any) -> bool:
    return isinstance(value, LocalPath) or (isinstance(value, list) and any(map(_has_path, value)))


def _stored(value: Any, doc: Document, store: Store) -> Document:
    from celesta.codecs import encode

    return encode(_loaded(value), doc, store)


def _loaded(value: Any) -> Any:
    from celesta.files import Directory, File

    if isinstance(value, list):
        return [_loaded(item) for item in value]
    return Directory(value.path) if value.path.is_dir() else File(value.path)
