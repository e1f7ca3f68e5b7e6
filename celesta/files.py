"""Files and folders as values: what a step returns to have them stored, and what it receives to read them.

`File("model.pkl")` returned is uploaded; a received `File` has a local, read-only `.path`. Called by user code and by
`celesta.codecs.paths`. Refuses to be pickled: a path means nothing on another machine.
"""

import hashlib
import os
from pathlib import Path
from typing import NoReturn


class _Stored:
    """What a file and a folder share: a local path, and an identity once stored."""

    __slots__ = ("_digest", "_name", "_size", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._name = self.path.name
        self._size: int | None = None
        self._digest: str | None = None

    @property
    def name(self) -> str:
        """The file name, without folders."""
        return self._name

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self.path)!r})"

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} cannot be pickled: its path means nothing elsewhere. Return it from the step (also inside a "
            "list, dict or dataclass) and Celesta stores it; to hand it to a process of your own pass its .path"
        )


class File(_Stored):
    """A file. `path` is where it lies; received in a step it is read-only, and a change to it reaches nobody."""

    __slots__ = ("media_type",)

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, media_type: str | None = None) -> None:
        super().__init__(path)
        self._name = name or self.path.name
        self.media_type = media_type

    @classmethod
    def received(cls, path: Path, name: str, media_type: str | None, digest: str, size: int) -> "File":
        """The file that a step gets for a stored one."""
        file = cls(path, name=name, media_type=media_type)
        file._digest, file._size = digest, size
        return file

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.path.stat().st_size if self._size is None else self._size

    @property
    def digest(self) -> str:
        """SHA-256 of the content; computed for a file that is not stored yet."""
        if self._digest is not None:
            return self._digest
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self.path.read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole content as text."""
        return self.path.read_text(encoding)


class Directory(_Stored):
    """A folder with all that is in it. Received in a step its files are read-only."""

    __slots__ = ()

    @classmethod
    def received(cls, path: Path, digest: str, size: int) -> "Directory":
        """The folder that a step gets for a stored one."""
        folder = cls(path)
        folder._digest, folder._size = digest, size
        return folder

    def files(self) -> list[Path]:
        """All files below, sorted by their path."""
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(path.stat().st_size for path in self.files()) if self._size is None else self._size

    @property
    def digest(self) -> str | None:
        """Digest of names, modes and contents; None until the folder is stored."""
        return self._digest
