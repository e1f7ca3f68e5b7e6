"""The layout of an exported run, and the reading of one from outside: nothing in it is taken for granted.

An archive is a zip: `run.json` (the record), `spec.json`, `code.zip` (the bundle), `blobs/sha256/…` (every value, as in
a store), `manifests/<path>/<token>/…` (what steps left behind), and `ro-crate-metadata.json`, which lists them all with
their SHA-256. `run_export` writes it, `run_import` reads it. Refuses what is truncated, tampered with, leads out of its
folder, or would swell to many times its size.
"""

import hashlib
import re
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from app import strict_json
from celesta.errors import InputError, Problem
from celesta.store import Store

METADATA, RECORD, SPEC, CODE, MANIFESTS = "ro-crate-metadata.json", "run.json", "spec.json", "code.zip", "manifests/"
FORMAT = 1
NAME = re.compile(
    r"(?:ro-crate-metadata\.json|run\.json|spec\.json|code\.zip|blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}"
    r"|manifests/[^/\\\x00-\x1f]+/[0-9]+\.[0-9]+/(?:result\.json|log\.txt|report\.html))\Z"
)
MOST_FILES = 500_000
MOST_BYTES = 64 << 30
MOST_SWELLING = 100
"""Values are stored as they are, and records shrink to a tenth: what swells more was made to."""
MOST_AT_ONCE_BYTES = 256 << 20
"""Of a file that is read as a whole: a record, the code, a value that names others."""
CHUNK_BYTES = 1 << 20
ENCRYPTED = 1
MOST_PROBLEMS = 20
Document = dict[str, Any]


class Archive(Store):
    """An archive whose files are all what its metadata says. As a store it answers for the blobs in it."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._zip, self._names = file, frozenset(file.namelist())
        self.url = "the archive"

    @property
    def blobs(self) -> list[str]:
        return sorted(name.rpartition("/")[2] for name in self._names if name.startswith("blobs/"))

    @property
    def manifests(self) -> list[str]:
        """Names of the files that steps left behind."""
        return sorted(name for name in self._names if name.startswith(MANIFESTS))

    def open(self, key: str) -> BinaryIO | None:
        return cast(BinaryIO, self._zip.open(key)) if key in self._names else None

    def get(self, key: str) -> bytes | None:
        """The whole file. Raises `InputError` for one that no memory should have to hold."""
        if (self.size(key) or 0) > MOST_AT_ONCE_BYTES:
            raise InputError([Problem(key, f"has more than {MOST_AT_ONCE_BYTES:,} bytes")])
        return super().get(key)

    def size(self, key: str) -> int | None:
        return self._zip.getinfo(key).file_size if key in self._names else None

    def unpacked(self, name: str, folder: Path) -> Path:
        """A file of the archive as a file in this folder, of any size."""
        path = folder / "unpacked"
        with self._zip.open(name) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        return path

    def document(self, name: str) -> Document:
        """A JSON object of the archive."""
        try:
            document = strict_json.loads(self.get(name) or b"")
        except (ValueError, RecursionError):
            raise InputError([Problem(name, "is not there, or no JSON")]) from None
        if not isinstance(document, dict):
            raise InputError([Problem(name, "is no JSON object")])
        return document


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file, once every file in it was read and is what the metadata says. Raises `InputError`."""
    try:
        with zipfile.ZipFile(path) as file:
            _require_sane(file, path.stat().st_size)
            archive = Archive(file)
            _require_whole(file, archive)
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeError) as error:
        raise InputError(f"this is no archive of a run, or not all of one: {error}") from None


def _require_sane(file: zipfile.ZipFile, size: int) -> None:
    """What the table of contents alone tells; nothing was unpacked yet."""
    members = file.infolist()
    if not members or min(member.header_offset for member in members) != 0:
        # Cut off before its own table of contents, an archive ends with that of a zip that is stored in it.
        raise zipfile.BadZipFile("it has no table of contents")
    total = sum(member.file_size for member in members)
    if len(members) > MOST_FILES or total > MOST_BYTES or total > MOST_SWELLING * max(size, CHUNK_BYTES):
        held = f"{len(members):,} files of {total:,} bytes"
        raise InputError(f"this archive of {size:,} bytes says that it holds {held}; that is refused")
    counts = Counter(member.filename for member in members)
    problems = [Problem(member.filename[:200], why) for member in members if (why := _wrong_member(member))]
    problems += [Problem(name[:200], "is in it twice") for name, count in counts.items() if count > 1]
    if problems:
        raise InputError("this archive holds files that no export writes", problems[:MOST_PROBLEMS])


def _wrong_member(member: zipfile.ZipInfo) -> str:
    name = member.filename
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or (len(name) > 1 and name[1] == ":"):
        return "leads out of the folder of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted"
    return "" if NAME.match(name) else "is no file of an exported run"


def _require_whole(file: zipfile.ZipFile, archive: Archive) -> None:
    """Every file is listed with the digest that it has, and a blob is named by it."""
    listed = _listed(archive.document(METADATA))
    names = set(file.namelist()) - {METADATA}
    problems = [Problem(name, "is listed, and not in the archive") for name in sorted(listed.keys() - names)]
    problems += [Problem(name, "is in the archive, and not listed") for name in sorted(names - listed.keys())]
    for name in sorted(names & listed.keys()):
        digest = _digest(file, name)
        if digest != listed[name] or (name.startswith("blobs/") and digest != name.rpartition("/")[2]):
            problems.append(Problem(name, "is not what was exported: its SHA-256 is another"))
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise InputError("this archive was changed, or is not whole", problems[:MOST_PROBLEMS])


def _listed(metadata: Document) -> dict[str, str]:
    graph = metadata.get("@graph")
    entities = [entity for entity in graph if isinstance(entity, dict)] if isinstance(graph, list) else []
    found = {str(entity.get("@id")): str(entity["sha256"]) for entity in entities if "sha256" in entity}
    if not {RECORD, SPEC} <= found.keys():
        raise InputError([Problem(METADATA, "does not describe an exported run")])
    return found


def _digest(file: zipfile.ZipFile, name: str) -> str:
    with file.open(name) as stream:
        seen = hashlib.sha256()
        while chunk := stream.read(CHUNK_BYTES):
            seen.update(chunk)
        return seen.hexdigest()
