"""What can be checked of a value reference without loading it: its form, its digest, the blobs it rests on.

Called where references come from outside: the values in a spec, and the inputs of a launch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celesta.errors import Problem
from celesta.hashing import canonical, digest_of, list_digest

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
TYPES = ("json", "list", "file", "directory", "ndarray", "table", "pickle")
OF_KIND = {
    "file": "file",
    "directory": "directory",
    "ndarray": "ndarray",
    "table": "table",
    "pickle": "pickle",
    "list": "list",
}
Document = Mapping[str, Any]


def ref_problems(ref: Any, where: str) -> Iterator[Problem]:
    """What is wrong with the form of a reference. A false digest would let one value pass for another in the cache."""
    if not isinstance(ref, dict) or ref.get("type") not in TYPES:
        yield Problem(where, f"is no value reference; its type is one of {', '.join(TYPES)}")
        return
    if not _is_digest(ref.get("digest")) or not _is_size(ref.get("size")):
        yield Problem(where, "a value reference has a digest (64 lower-case hex characters) and a size in bytes")
    elif "inline" in ref and ref["type"] == "json":
        if digest_of(canonical(ref["inline"])) != ref["digest"]:
            yield Problem(where, "the digest is not that of the value")
    elif isinstance(ref.get("items"), list) and ref["type"] == "list":
        yield from _list_problems(ref, where)
    elif not _is_digest(ref.get("blob")):
        yield Problem(where, "a value reference without an inline value has a blob (64 lower-case hex characters)")
    elif ref["type"] in ("json", "pickle") and ref["blob"] != ref["digest"]:
        yield Problem(where, f"the digest of a {ref['type']} value is that of its blob")


def misfit(ref: Document, type_doc: Document) -> str | None:
    """Why a reference of this type cannot be a value of that type; None when it may be.

    Told by the reference's type alone; what is inside is checked by the step that decodes it.
    """
    if type_doc["kind"] == "any":
        return None
    if type_doc["kind"] == "union":
        reasons = [misfit(ref, member) for member in type_doc["of"]]
        return None if None in reasons else reasons[0]
    wanted = OF_KIND.get(type_doc["kind"], "json")
    return None if ref["type"] == wanted else f"expected a {type_doc['kind']}, got a reference to a {ref['type']} value"


def blobs_of(ref: Document) -> Iterator[str]:
    """The blobs that a reference names itself; what is named inside those blobs is not looked into."""
    if "blob" in ref:
        yield ref["blob"]
    for item in ref.get("items") or ():
        yield from blobs_of(item)
    if "inline" in ref:
        yield from _nested(ref["inline"])


def _nested(tagged: Any) -> Iterator[str]:
    """References inside a tagged value: files and tables in a dataclass, for example."""
    if isinstance(tagged, dict):
        if "ref" in tagged:
            yield from blobs_of(tagged["ref"])
        else:
            for part in tagged.values():
                yield from _nested(part)
    elif isinstance(tagged, list):
        for part in tagged:
            yield from _nested(part)


def values_in(bindings: Iterable[Document]) -> Iterator[Document]:
    """The references that stand in bindings as values."""
    for binding in bindings:
        if "value" in binding:
            yield binding["value"]
        elif "list" in binding:
            yield from values_in(binding["list"])
        elif "dict" in binding:
            yield from values_in(binding["dict"].values())


def _list_problems(ref: Document, where: str) -> Iterator[Problem]:
    found = [problem for index, item in enumerate(ref["items"]) for problem in ref_problems(item, f"{where}[{index}]")]
    if found:
        yield from found
    elif (
        ref.get("length") != len(ref["items"]) or list_digest(item["digest"] for item in ref["items"]) != ref["digest"]
    ):
        yield Problem(where, "length and digest are not those of the items")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and DIGEST.match(value) is not None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
