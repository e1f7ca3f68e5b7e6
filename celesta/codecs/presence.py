"""Whether the blobs that references rest on are still in the store, asked for many values at once.

The engine and local runs ask before a step is answered from the cache, with the outputs of hits. Small values are
inline and ask nothing; of the others only their existence is asked, side by side and each once. Nothing is loaded but
the listings of long lists and of folders, since what they list has to be there too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from celesta.codecs.reach import MALFORMED, blobs_of, children
from celesta.store.base import Store

K = TypeVar("K")
Ref = Mapping[str, Any]

ASKED_AT_ONCE = 16


def gone(store: Store, hits: Mapping[K, Mapping[str, Ref]]) -> set[K]:
    """The hits (name to outputs) of which something is certainly not there. Raises `StoreError` when nobody knows."""
    named = {hit: [*_blobs(outputs.values())] for hit, outputs in hits.items()}
    if not any(named.values()):
        return set()
    absent = missing_of({blob for blobs in named.values() for blob in blobs}, store.has_blob)
    lost = {hit for hit, blobs in named.items() if absent.intersection(blobs)}
    listed = {}
    for hit in hits.keys() - lost:
        try:
            listed[hit] = {str(place): ref for place, ref in enumerate(_listed(store, hits[hit].values()))}
        except MALFORMED:
            lost.add(hit)
    return lost | gone(store, listed) if any(listed.values()) else lost


def missing_of(blobs: Collection[str], is_there: Callable[[str], bool]) -> set[str]:
    """Those of the blobs that are not there. Asked side by side: one by one, S3 would take minutes."""
    if len(blobs) < 2:
        return {blob for blob in blobs if not is_there(blob)}
    from concurrent.futures import ThreadPoolExecutor  # not in every step process

    asked = sorted(blobs)
    with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(asked))) as pool:
        return {blob for blob, there in zip(asked, pool.map(is_there, asked), strict=True) if not there}


def _blobs(refs: Iterable[Ref]) -> Iterator[str]:
    for ref in refs:
        yield from blobs_of(ref)


def _listed(store: Store, refs: Iterable[Ref]) -> Iterator[Ref]:
    """What is named in blobs of their own: of long lists, of folders, of large values with references inside."""
    for ref in refs:
        inside = (inner for _, inner in children(ref, store))
        yield from inside if "blob" in ref else _listed(store, inside)
