"""Hides the values of a step's secrets in what the step says: its log, errors, report and the names of its metrics.

Made where the values are known: in the step's process, by the program of its container, by the executor. Bytes go
through a `Stream`, which finds a value also where it is cut in two. Guards against accidents, not against the step:
whoever is given a secret can say it in a spelling that nobody looks for, or return it as its output, which is data.
A step without secrets has no mask, and pays nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHOWN = b"***"
LEAST_CHARACTERS = 4
"""A shorter value is no secret: hiding each `on` or `42` would only make a log unreadable."""
_LEAST_ENCODED = 8
_LEAST_LINE = 16
_CHUNK_BYTES = 1 << 16


def mask_of(secrets: Mapping[str, str], scratch: str | os.PathLike[str] | None = None) -> Mask | None:
    """The mask over these values by name; None where there is nothing to hide. Copies of files are made in the folder
    `scratch`, else where the system has temporary ones."""
    values = [value for value in secrets.values() if len(value.strip()) >= LEAST_CHARACTERS]
    return Mask(values, scratch) if values else None


def without(mask: Mask | None, file: int, ended: bool = True) -> contextlib.AbstractContextManager[int]:
    """The descriptor of a file like this one without what the mask hides, also half of it where more may come."""
    return contextlib.nullcontext(file) if mask is None else mask.copy(file, ended)


class Mask:
    """Finds some values, as they are and as they are usually encoded: quoted, in JSON, in URLs, in base 64."""

    def __init__(self, values: Iterable[str], scratch: str | os.PathLike[str] | None = None) -> None:
        self._scratch = scratch
        self.forms = sorted({form for value in values for form in _forms(value)}, key=lambda form: (-len(form), form))
        self._pattern = re.compile(b"|".join(map(re.escape, self.forms)))

    def text(self, text: str) -> str:
        """The text without the values."""
        return self._pattern.sub(SHOWN, text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def document(self, value: Any) -> Any:
        """The same document, each text in it without the values."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.document(item) for item in value]
        return {name: self.document(item) for name, item in value.items()} if isinstance(value, dict) else value

    @contextlib.contextmanager
    def copy(self, file: int, ended: bool = True) -> Iterator[int]:
        """The descriptor of a file like this one without the values, as far as they show when it has not ended."""
        import tempfile

        stream, offset = Stream(self), 0
        with tempfile.TemporaryFile(dir=self._scratch) as copy:
            while data := os.pread(file, _CHUNK_BYTES, offset):
                offset += len(data)
                copy.write(stream.feed(data))
            copy.write(stream.end() if ended else b"")
            copy.flush()
            yield copy.fileno()

    def replace(self, data: bytes, settled: int) -> tuple[bytes, int]:
        """The beginning of the data without the values, and how much of the data that is: all that begins before
        `settled`."""
        shown, done = [], 0
        for found in self._pattern.finditer(data):
            if found.start() >= settled:
                break
            shown += [data[done : found.start()], SHOWN]
            done = found.end()
        return b"".join([*shown, data[done:settled]]), max(done, settled)


class Stream:
    """Bytes that come in pieces. All that came out is what the whole would be without the values."""

    def __init__(self, mask: Mask | None) -> None:
        self._mask = mask
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown by now. An end that may be the beginning of a value waits for the next piece."""
        if self._mask is None:
            return data
        data = self._held + data
        shown, done = self._mask.replace(data, self._settled(data))
        self._held = data[done:]
        return shown

    def end(self) -> bytes:
        """What was still waiting."""
        held, self._held = self._held, b""
        return self._mask.replace(held, len(held))[0] if self._mask else b""

    def _settled(self, data: bytes) -> int:
        assert self._mask is not None
        forms = self._mask.forms
        for start in range(max(0, len(data) - len(forms[0]) + 1), len(data)):
            if any(form.startswith(data[start:]) and len(form) > len(data) - start for form in forms):
                return start
        return len(data)


def _forms(value: str) -> set[bytes]:
    import json
    from urllib.parse import quote, quote_plus

    bare = value.strip()
    lines = [line.strip() for line in bare.splitlines()]
    texts = {value, bare, *(line for line in lines if len(line) >= _LEAST_LINE)}
    texts |= {repr(bare)[1:-1], json.dumps(bare)[1:-1], json.dumps(bare, ensure_ascii=False)[1:-1]}
    texts |= {quote(bare), quote(bare, safe=""), quote_plus(bare)}
    encoded = {text.encode("utf-8", "surrogatepass") for text in texts}
    return encoded | (_base64(bare.encode("utf-8", "surrogatepass")) if len(bare) >= _LEAST_ENCODED else set())


def _base64(value: bytes) -> set[bytes]:
    """The value alone, and the characters that stand for nothing but the value, wherever among other bytes it is."""
    from base64 import b64encode, urlsafe_b64encode

    found = set()
    for encode in (b64encode, urlsafe_b64encode):
        found.add(encode(value).rstrip(b"="))
        for before in range(3):
            first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
            found.add(encode(b"\0" * before + value)[first:last])
    return found
