"""References from outside, held against what they name: the gate before a value may take part in a cache key.

Called by the control plane for the inputs of a launch and the constants of a spec, on JSON that anyone may have sent:
nothing is taken for granted, nothing is unpickled, no class is imported. A false digest would let one value pass for
another in the cache. What lies in blobs is read where the digest is not that of the blob: long lists, folders, values
with files inside. The digest of an array or a table is that of its logical content, which only a step computes: there
the blob has to exist, and the digest is what its maker says.
"""

import json
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from typing import Any

from celesta.codecs.form import formless
from celesta.codecs.presence import missing_of
from celesta.codecs.reach import is_ambiguous, nested
from celesta.codecs.values import INLINE_BYTES, reduced
from celesta.errors import Problem, StoreError
from celesta.hashing import canonical, digest_of, list_digest
from celesta.store.base import Store, blob_key, is_digest, is_size

Ref = dict[str, Any]
MAX_PROBLEMS = 20
MAX_READ_BYTES = 64 << 20
"""Of a blob that is read to look into a value."""
MAX_BLOBS = 100_000
"""That a value may rest on."""


def verify(ref: Any, store: Store, where: str = "", present: Collection[str] = ()) -> list[Problem]:
    """What keeps a reference from being that of a stored value, at most 20 problems; `where` begins their paths.

    `present` are blobs that are known to be in the store. Raises `StoreError` when the store does not answer.
    """
    checks = _Checks(store, present)
    return list(islice(chain(checks.ref(ref, where), checks.absent()), MAX_PROBLEMS))


class _Checks:
    def __init__(self, store: Store, present: Collection[str]) -> None:
        self.store, self.present = store, present
        self.asked: dict[str, str] = {}
        """Blobs that have to be there, with the first place that names each."""
        self._kinds: dict[str, Callable[[Ref, str], Iterator[Problem]]] = {
            "json": self._json,
            "list": self._list,
            "file": self._addressed,
            "pickle": self._addressed,
            "directory": self._directory,
            "ndarray": self._there,
            "table": self._there,
        }

    def ref(self, ref: Any, where: str) -> Iterator[Problem]:
        if not isinstance(ref, dict) or not isinstance(ref.get("type"), str) or ref["type"] not in self._kinds:
            yield Problem(where, f"is no value reference; its type is one of {', '.join(self._kinds)}")
        elif not is_digest(ref.get("digest")) or not is_size(ref.get("size")):
            yield Problem(where, "a value reference has a digest (64 lower-case hex characters) and a size in bytes")
        elif is_ambiguous(ref):
            yield Problem(where, "a value is in a blob or in its reference (inline, items of a list), never in both")
        else:
            try:
                yield from self._kinds[ref["type"]](ref, where)
            except RecursionError:
                yield Problem(where, "is nested too deeply")
            except _TooMuchError as error:
                yield Problem(where, str(error))

    def _json(self, ref: Ref, where: str) -> Iterator[Problem]:
        if "inline" in ref:
            return self._tagged(ref["inline"], ref, where, INLINE_BYTES)
        if ref.get("blob") == ref["digest"]:
            return self._there(ref, where)
        return self._loaded(ref, where, lambda tagged: self._tagged(tagged, ref, where))

    def _tagged(self, tagged: Any, ref: Ref, where: str, limit: int | None = None) -> Iterator[Problem]:
        """The form and the digest of a tagged value, after that of each reference in it."""
        if (part := formless(tagged)) is not None:
            yield Problem(where, f"{part} is not the tagged form of a value")
            return
        wrong = [problem for _, inner in nested(tagged) for problem in self.ref(inner, where)]
        yield from wrong
        if wrong:
            return
        try:
            size, digest = len(canonical(tagged)), digest_of(canonical(reduced(tagged)))
        except (UnicodeEncodeError, ValueError) as error:
            yield Problem(where, f"has no canonical form: {error}")
            return
        if digest != ref["digest"]:
            yield Problem(where, "the digest is not that of the value")
        elif limit is not None and size > limit:
            yield Problem(where, f"an inline value has at most {limit} bytes: put it as a blob")

    def _list(self, ref: Ref, where: str) -> Iterator[Problem]:
        if isinstance(ref.get("items"), list):
            return self._items(ref["items"], ref, where)
        return self._loaded(ref, where, lambda items: self._items(items, ref, where))

    def _items(self, items: Any, ref: Ref, where: str) -> Iterator[Problem]:
        if not isinstance(items, list):
            yield Problem(where, "the blob of a list is the JSON array of its references")
            return
        wrong = [problem for index, item in enumerate(items) for problem in self.ref(item, f"{where}[{index}]")]
        yield from wrong
        if not wrong and (ref.get("length") != len(items) or list_digest(items) != ref["digest"]):
            yield Problem(where, "length and digest are not those of the items")

    def _directory(self, ref: Ref, where: str) -> Iterator[Problem]:
        yield from (wrong := list(self._addressed(ref, where)))
        if not wrong:
            yield from self._loaded(ref, where, lambda listing: self._files(listing, where))

    def _files(self, listing: Any, where: str) -> Iterator[Problem]:
        files = listing.get("files") if isinstance(listing, dict) else None
        if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
            yield Problem(where, "the blob of a directory is the list of its files")
            return
        folders = listing.get("folders", [])
        if not isinstance(folders, list) or not all(isinstance(name, str) for name in folders):
            yield Problem(where, "the empty folders of a directory are a list of names")
        for name, entry in files.items():
            yield from self._blob(entry.get("digest"), f"{where}[{name!r}]")

    def _addressed(self, ref: Ref, where: str) -> Iterator[Problem]:
        """What is named by the digest of its blob."""
        if ref.get("blob") != ref["digest"]:
            yield Problem(where, f"the digest of a {ref['type']} value is that of its blob")
        else:
            yield from self._there(ref, where)

    def _there(self, ref: Ref, where: str) -> Iterator[Problem]:
        return self._blob(ref.get("blob"), where)

    def _blob(self, digest: Any, where: str) -> Iterator[Problem]:
        if not is_digest(digest):
            yield Problem(where, "a value reference without an inline value has a blob (64 lower-case hex characters)")
        elif digest not in self.present:
            self.asked.setdefault(digest, where)
            if len(self.asked) > MAX_BLOBS:
                raise _TooMuchError(f"rests on more than {MAX_BLOBS:,} files; pack them into fewer")

    def absent(self) -> Iterator[Problem]:
        """The blobs that are not in the store."""
        absent = missing_of(self.asked, self.store.has_blob)
        yield from (_absent(digest, where) for digest, where in self.asked.items() if digest in absent)

    def _loaded(self, ref: Ref, where: str, check: Callable[[Any], Iterator[Problem]]) -> Iterator[Problem]:
        """What a check says of the JSON document in the reference's blob."""
        if not is_digest(ref.get("blob")):
            yield from self._there(ref, where)
            return
        try:
            size = self.store.size(blob_key(ref["blob"]))
            if size is not None and size > MAX_READ_BYTES:
                told = f"has {size:,} bytes that name its parts; at most {MAX_READ_BYTES:,} are read: pass it as a file"
                raise _TooMuchError(told)
            document = json.loads(self.store.get_blob(ref["blob"]))
        except StoreError as error:
            if error.code != "missing_blob":
                raise
            yield _absent(ref["blob"], where)
        except ValueError:
            yield Problem(where, f"its blob {ref['blob']} is not JSON")
        else:
            yield from check(document)


class _TooMuchError(Exception):
    """A value that no server should look into."""


def _absent(digest: str, where: str) -> Problem:
    return Problem(where, f"its blob {digest} is not in the store; put it first")
