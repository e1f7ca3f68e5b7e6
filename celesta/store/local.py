"""A store in a folder: the default of one machine, and of local runs.

Owns the folder `root`: objects lie at their keys. A write is a file without a name in the folder of its key, fsync,
then a hard link (create once) or a link and a rename (replace), and an fsync of the folder that got the new name; on
ext4, xfs and btrfs that commits the folders made on the way as well. So an object is whole or absent, whatever is
killed when. `root/tmp` holds what is to be renamed, and all that is being written where the file system has no files
without a name. Refuses keys that lead through a symbolic link, and never follows one.

`create` is on the path of every step, so this module speaks to `os` directly: pathlib would double its cost.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from celesta.errors import StoreError
from celesta.store.base import (
    CHUNK_BYTES,
    KEPT_SECONDS,
    LEFTOVER_SECONDS,
    Entry,
    Store,
    blob_key,
    check_key,
    check_prefix,
    open_source,
)

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_TEMPORARY = "tmp"
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FINAL = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
_MODE = 0o444
_ATTEMPTS = 5
_FLUSHERS = 8

Result = TypeVar("Result")


class LocalStore(Store):
    """Objects as read-only files below one folder, which is made when it is missing."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.realpath(root)
        self.url = f"file://{self.root}"
        self._temporary = f"{self.root}/{_TEMPORARY}"
        self._nameless = True
        self._pool: tuple[int, ThreadPoolExecutor | None] = 0, None
        try:
            os.makedirs(self._temporary, exist_ok=True)
        except OSError as error:
            raise self._failure("opened", self.root, error) from error

    def create(self, key: str, data: bytes, flush: bool = True) -> bool:
        return self._write(key, lambda target: _write_all(target, data), once=True, flush=flush)

    def put(self, key: str, data: bytes, flush: bool = True) -> None:
        self._write(key, lambda target: _write_all(target, data), once=False, flush=flush)

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        with open_source(path) as source:
            self._write(key, lambda target: _pour(source, target), once=False)

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        """Reads the file once, so that the digest is that of the stored bytes even when the file changes meanwhile."""
        with open_source(path) as source:
            try:
                with self._unnamed(self._temporary) as (descriptor, name):
                    digest, size = _pour(source, descriptor)
                    os.fsync(descriptor)
                    key = blob_key(digest)
                    if not self.keep(key, size):
                        target = self._path(key)
                        self._place(name, target, once=False)
                        _sync(os.path.dirname(target))
                return digest, size
            except OSError as error:
                raise self._failure("stored", os.fspath(path), error) from error

    def flush(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        if len(paths) < _FLUSHERS:
            for path in paths:
                self._flush(path)
            return
        # Those who wait for a file system's journal at the same time share one commit of it.
        flushers = self._flushers()
        flushed = [flushers.submit(self._flush, path) for path in paths]
        failures = [failure for one in flushed if (failure := one.exception())]  # Of all: none is at it afterwards.
        if failures:
            raise failures[0]

    def _flushers(self) -> "ThreadPoolExecutor":
        """Kept by the process that flushes often; its threads do not survive a fork."""
        pid, pool = self._pool
        if pool is None or pid != os.getpid():
            from concurrent.futures import ThreadPoolExecutor  # Here: threads and their locks burden each fork.

            pool = ThreadPoolExecutor(_FLUSHERS, "flusher")
            self._pool = os.getpid(), pool
        return pool

    def _flush(self, path: str) -> None:
        try:
            _sync(path)
            _sync(os.path.dirname(path))
        except OSError as error:
            self._certainly_absent(path, error)

    def open(self, key: str) -> BinaryIO | None:
        path = self._path(key)
        try:
            descriptor = os.open(path, _READ)
        except OSError as error:
            self._certainly_absent(key, error)
            return None
        try:
            return os.fdopen(descriptor, "rb")
        except IsADirectoryError:
            os.close(descriptor)
            return None

    def size(self, key: str) -> int | None:
        path = self._path(key)
        try:
            status = os.lstat(path)
        except OSError as error:
            self._certainly_absent(key, error)
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def keep(self, key: str, size: int) -> bool:
        path = self._path(key)
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                return False
            if time.time() - status.st_mtime > KEPT_SECONDS:
                os.utime(path)
        except OSError as error:
            self._certainly_absent(key, error)
            return False
        return True

    def entries(self, prefix: str) -> Iterator[Entry]:
        for key in self.list(prefix):
            try:
                status = os.lstat(f"{self.root}/{key}")
            except OSError as error:
                self._certainly_absent(key, error)  # it was deleted since it was listed
                continue
            yield Entry(key, status.st_size, status.st_mtime)

    def list(self, prefix: str) -> Iterator[str]:
        folder = check_prefix(prefix).rpartition("/")[0]
        for key in self._walk(folder):
            if key.startswith(prefix):
                yield key

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            os.unlink(path)
            os.removedirs(os.path.dirname(path))
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                self._certainly_absent(key, error)

    def sweep(self, older_than_seconds: float = LEFTOVER_SECONDS) -> int:
        """Removes temporary files that nobody has written to for so long: a live writer touches its own."""
        removed, since = 0, time.time() - older_than_seconds
        try:
            with os.scandir(self._temporary) as found:
                for entry in found:
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < since:
                        _unlink(entry.path)
                        removed += 1
        except FileNotFoundError:  # It was renamed to its key just now; the others wait for the next sweep.
            return removed
        except OSError as error:
            raise self._failure("swept", _TEMPORARY, error) from error
        return removed

    # How an object gets its name

    def _write(self, key: str, fill: Callable[[int], object], once: bool, flush: bool = True) -> bool:
        path = self._path(key)
        folder = os.path.dirname(path)
        try:
            with self._unnamed(folder) as (descriptor, name):
                fill(descriptor)
                if flush:
                    os.fsync(descriptor)
                placed = self._place(name, path, once)
            if placed and flush:
                _sync(folder)
            return placed
        except OSError as error:
            raise self._failure("written", key, error) from error

    @contextlib.contextmanager
    def _unnamed(self, folder: str) -> Iterator[tuple[int, str]]:
        """A new file that nobody finds: its descriptor, and what to link when it is whole. In `folder`, if possible."""
        temporary = None
        descriptor = self._open_nameless(folder) if self._nameless else None
        if descriptor is None:
            temporary = self._new_temporary()
            descriptor = os.open(temporary, _NEW, _MODE)
        try:
            yield descriptor, temporary or f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
            if temporary:
                _unlink(temporary)

    def _open_nameless(self, folder: str) -> int | None:
        try:
            return _in_folder(folder, lambda: os.open(folder, _NAMELESS, _MODE))
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            self._nameless = False
            return None

    def _place(self, name: str, path: str, once: bool) -> bool:
        folder = os.path.dirname(path)
        try:
            _in_folder(folder, lambda: _link(name, path))
            return True
        except FileExistsError:
            if once:
                return False
        temporary = self._new_temporary()
        try:
            _link(name, temporary)
            _in_folder(folder, lambda: os.replace(temporary, path))
            return True
        finally:
            _unlink(temporary)

    def _new_temporary(self) -> str:
        return f"{self._temporary}/{os.urandom(12).hex()}"

    def _path(self, key: str) -> str:
        path = f"{self.root}/{check_key(key)}"
        folder = os.path.dirname(path)
        if os.path.realpath(folder) != folder or key.startswith(f"{_TEMPORARY}/"):
            raise StoreError(f"key {key!r} of the store {self.url} leads out of it", code="bad_key", retryable=False)
        return path

    # What an error of the operating system means

    def _certainly_absent(self, key: str, error: OSError) -> None:
        if error.errno not in _ABSENT or not os.path.isdir(self._temporary):
            raise self._failure("read", key, error) from error

    def _failure(self, verb: str, what: str, error: OSError) -> StoreError:
        full = error.errno in _FULL
        advice = "; make room on its disk" if full else ""
        return StoreError(
            f"{what} cannot be {verb} in the store {self.url}: {error.strerror or error}{advice}",
            code="store_full" if full else "store_unavailable",
            retryable=error.errno not in _FINAL,
        )

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            with os.scandir(f"{self.root}/{folder}") as found:
                names = sorted(e.name + "/" * e.is_dir(follow_symlinks=False) for e in found if not e.is_symlink())
        except OSError as error:
            self._certainly_absent(folder, error)
            return
        for name in names:
            key = f"{folder}/{name}" if folder else name
            if key == f"{_TEMPORARY}/":
                continue
            if name.endswith("/"):
                yield from self._walk(key[:-1])
            else:
                yield key


def _write_all(target: int, data: bytes) -> None:
    written = os.write(target, data)
    while written < len(data):
        written += os.write(target, data[written : written + CHUNK_BYTES])


def _pour(source: BinaryIO, target: int) -> tuple[str, int]:
    seen, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        seen.update(chunk)
        size += len(chunk)
        _write_all(target, chunk)
    return seen.hexdigest(), size


def _in_folder(folder: str, act: Callable[[], Result]) -> Result:
    """Does what needs a folder, which is made when it is missing."""
    for _ in range(_ATTEMPTS):  # A delete may prune the folder between making it and using it.
        try:
            return act()
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
    raise FileNotFoundError(errno.ENOENT, "the folder disappears again and again", folder)


def _link(name: str, path: str) -> None:
    # With a folder's descriptor Python asks for a link to what a name of /proc stands for, and not to that name.
    os.link(name, path, src_dir_fd=0)


def _sync(path: str) -> None:
    descriptor = os.open(path, _READ)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # It was renamed to its key.
        os.unlink(path)
