"""What a value reference says without being loaded: the type it can be.

Whether it tells the truth is for `celesta.codecs.verify` to say, on which blobs it rests for `celesta.codecs.reach`.

Called where references come from outside: the values in a spec, and the inputs of a launch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celesta.codecs.tags import REFERENCES

TELLING_BYTES = 64
"""A JSON value that is shorter is met by chance, and says nothing about where it came from."""
Document = Mapping[str, Any]


def misfit(ref: Document, type_doc: Document) -> str | None:
    """Why a reference of this type cannot be a value of that type; None when it may be.

    Told by the reference's type alone; what is inside is checked by the step that decodes it.
    """
    if type_doc["kind"] == "any":
        return None
    if type_doc["kind"] == "union":
        reasons = [misfit(ref, member) for member in type_doc["of"]]
        return None if None in reasons else reasons[0]
    wanted = type_doc["kind"] if type_doc["kind"] in REFERENCES else "json"
    return None if ref["type"] == wanted else f"expected a {type_doc['kind']}, got a reference to a {ref['type']} value"


def values_in(bindings: Iterable[Document]) -> Iterator[Document]:
    """The references that stand in bindings as values."""
    for binding in bindings:
        if "value" in binding:
            yield binding["value"]
        elif "list" in binding:
            yield from values_in(binding["list"])
        elif "dict" in binding:
            yield from values_in(binding["dict"].values())


def is_telling(ref: Document) -> bool:
    """Whether two runs that have this value have it from each other, or from a third."""
    return ref["type"] not in ("json", "list") or "blob" in ref or ref["size"] >= TELLING_BYTES
