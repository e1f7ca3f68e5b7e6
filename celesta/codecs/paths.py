"""Files and folders in the store.

Called by `celesta.codecs.values`. A file's blob is its bytes; a folder's blob is the list of its files and of the
folders in it that are empty, so that equal files are stored once. Refuses what is not there, what is neither file nor
folder, links that lead out of a folder or to another one, and, on the way back, names that lead out.

A received file is a copy of its own, read-only: a hard link would share the blob's content with the step, and whoever
owns a file can make it writable again.
"""

import json
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from celesta.codecs.tagged import Unstorable
from celesta.errors import CodecError
from celesta.files import Directory, File
from celesta.hashing import canonical
from celesta.store.base import Store

Ref = dict[str, Any]


def takes(value: Any) -> bool:
    """Whether the value is a File or a Directory."""
    return isinstance(value, File | Directory)


def encode(value: File | Directory, store: Store) -> Ref:
    """Stores the file or the folder."""
    return _encode_file(value, store) if isinstance(value, File) else _encode_directory(value, store)


def decode(ref: Ref, store: Store, into: Path) -> File | Directory:
    """Lays the file or the folder below `into`, under its digest: twice the same is laid once."""
    into.mkdir(parents=True, exist_ok=True)
    return _decode_file(ref, store, into) if ref["type"] == "file" else _decode_directory(ref, store, into)


def _encode_file(file: File, store: Store) -> Ref:
    if not file.path.is_file():
        raise Unstorable(f"{file!r} is not there (or not a file); write it before returning it")
    digest, size = store.put_blob_file(file.path)
    guessed = file.media_type or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return {"type": "file", "digest": digest, "size": size, "blob": digest, "name": file.name, "media_type": guessed}


def _decode_file(ref: Ref, store: Store, into: Path) -> File:
    name = _safe_relative(ref["name"], parts=1)
    path = into / ref["digest"] / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _lay(store, ref["blob"], path, 0o444)
    return File.received(path, ref["name"], ref.get("media_type"), ref["digest"], ref["size"])


def _encode_directory(folder: Directory, store: Store) -> Ref:
    if not folder.path.is_dir():
        raise Unstorable(f"{folder!r} is not there (or not a folder); write it before returning it")
    files: dict[str, Ref] = {}
    empty: list[str] = []
    for path in _below(folder.path):
        relative = path.relative_to(folder.path).as_posix()
        if path.is_dir():
            empty.append(relative)
            continue
        digest, size = store.put_blob_file(path)
        files[relative] = {"digest": digest, "size": size, "mode": 0o755 if path.stat().st_mode & 0o100 else 0o644}
    blob = store.put_blob(canonical({"files": files} | ({"folders": sorted(empty)} if empty else {})))
    return {"type": "directory", "digest": blob, "size": sum(file["size"] for file in files.values()), "blob": blob}


def _below(root: Path) -> Iterator[Path]:
    """All files, and the folders that have nothing in them."""
    real_root = root.resolve()
    for place, folders, names in os.walk(root, onerror=_unreadable):
        folders.sort()
        for name in (*folders, *sorted(names)):
            path = Path(place, name)
            if reason := _refused(path, real_root):
                raise Unstorable(f"{path.relative_to(root).as_posix()} {reason}").inside(str(root))
            if name not in folders:
                yield path
        if not folders and not names and Path(place) != root:
            yield Path(place)


def _refused(path: Path, real_root: Path) -> str:
    if path.is_symlink() and not path.resolve().is_relative_to(real_root):
        return "is a link that leads out of the folder; put the file itself there"
    if path.is_symlink() and path.is_dir():
        return "is a link to another folder; put that folder itself there"
    return "" if path.is_dir() or path.is_file() else "is neither a file nor a folder; remove it"


def _unreadable(error: OSError) -> None:
    raise Unstorable(f"the folder {error.filename} cannot be read ({error.strerror})") from error


def _decode_directory(ref: Ref, store: Store, into: Path) -> Directory:
    path = into / ref["digest"] / "directory"
    if not path.exists():
        listing = json.loads(store.get_blob(ref["blob"]))
        targets = {path / _safe_relative(relative): entry for relative, entry in listing["files"].items()}
        empty = [path / _safe_relative(relative) for relative in listing.get("folders", ())]
        for folder in (path, *empty):
            folder.mkdir(parents=True, exist_ok=True)
        for target, entry in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            _lay(store, entry["digest"], target, 0o555 if entry["mode"] & 0o111 else 0o444)
    return Directory.received(path, ref["digest"], ref["size"])


def _lay(store: Store, blob: str, path: Path, mode: int) -> None:
    store.fetch_blob(blob, path)
    path.chmod(mode)


def _safe_relative(name: str, parts: int | None = None) -> PurePosixPath:
    path = PurePosixPath(name)
    safe = bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts and path.parts
    if not safe or (parts is not None and len(path.parts) != parts):
        raise CodecError(f"{name!r} is not a name inside a folder; the reference was not made by Celesta")
    return path
