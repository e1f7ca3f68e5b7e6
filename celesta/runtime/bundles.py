"""Code bundles on a host: each is unpacked once, by digest.

Owns the folder of unpacked bundles. Called by executors and by `python -m celesta.runtime`. Refuses a bundle whose
bytes are not those of its digest, and one that would write outside its own folder.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from celesta.errors import InputError, StoreError

MAX_UNPACKED_BYTES = 1 << 30


def unpacked(store: Any, digest: str, root: str | os.PathLike[str]) -> Path:
    """The folder of this bundle below `root`, fetched and unpacked when it is not there. Safe to race.

    Raises `StoreError` when the bundle is missing or damaged, `InputError` when it is not one we would unpack.
    """
    folder = Path(root) / digest
    if folder.is_dir():
        return folder
    data = store.get_blob(digest)
    Path(root).mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}-", dir=root))
    try:
        _unpack(data, digest, temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # Nobody else was faster: then it is the disk.
            raise StoreError(f"bundle {digest[:12]} cannot be unpacked to {folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _unpack(data: bytes, digest: str, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            members = bundle.infolist()
            _check(members, digest)
            for member in members:
                _write(bundle, member, folder / member.filename)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"bundle {digest[:12]} is not a zip file that can be read: {error}; register it again"
        ) from error


def _check(members: list[zipfile.ZipInfo], digest: str) -> None:
    for member in members:
        path = PurePosixPath(member.filename)
        mode = member.external_attr >> 16
        odd = mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or odd:
            raise InputError(
                f"bundle {digest[:12]} holds {member.filename!r}, which is not a plain file inside it; register it anew"
            )
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise InputError(
            f"bundle {digest[:12]} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; leave data out of it"
        )


def _write(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())  # The folder's name promises its content, also after a power loss.
