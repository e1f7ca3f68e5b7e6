"""Shapes of the small documents inside a spec: type documents, interfaces, tasks and value references.

Called by `celesta.spec.checks`, on JSON that anyone may have sent: nothing is taken for granted, nothing raises. Each
function yields problems at a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from celesta.codecs.form import formless
from celesta.codecs.reach import is_ambiguous, nested
from celesta.codecs.tags import KIND_OF_TAG, REFERENCES
from celesta.errors import Problem
from celesta.spec.container import container_problems
from celesta.spec.options import OPTIONS, option_problems
from celesta.store.base import is_digest, is_size
from celesta.types import TypeDoc, accepts, spell

REFERENCE = re.compile(r"((?P<project>[^/@\s]+)/)?(?P<name>\w[\w.\- ]*)(@(?P<version>[^/@]+))?")
ENTRYPOINT = re.compile(r"[^\s:]+:[^\s:]+")
_SIMPLE = {
    "any", "none", "bool", "int", "float", "str", "bytes", "datetime", "date", "file", "directory", "ndarray", "table",
    "pickle",
}  # fmt: skip
_DEPTH = 40
WAITS = ("approve", "wait_for", "sleep")
"""Kinds of tasks that run nothing: their steps wait, without a worker, for an answer or a time."""
KINDS = ("python", "dynamic", "container", *WAITS)


def type_problems(doc: Any, where: str, depth: int = 0) -> Iterator[Problem]:
    """What keeps `doc` from being a type document."""
    kind = doc.get("kind") if isinstance(doc, dict) else None
    if isinstance(kind, str) and kind in _SIMPLE:
        return
    if depth > _DEPTH:
        yield Problem(where, f"types are nested more than {_DEPTH} deep")
    elif kind in ("list", "set"):
        yield from type_problems(doc.get("items"), f"{where}.items", depth + 1)
    elif kind == "dict":
        for part in ("keys", "values"):
            yield from type_problems(doc.get(part), f"{where}.{part}", depth + 1)
    elif kind in ("tuple", "union"):
        part = "items" if kind == "tuple" else "of"
        members = doc.get(part)
        if not isinstance(members, list) or (kind == "union" and not members):
            yield Problem(where, f'"{part}" is not a list of types')
            return
        for i, one in enumerate([*members, doc["rest"]] if "rest" in doc else members):
            yield from type_problems(one, f"{where}.{part}[{i}]", depth + 1)
    elif kind == "literal":
        values = doc.get("values")
        if not isinstance(values, list) or not all(one is None or isinstance(one, str | int) for one in values):
            yield Problem(where, '"values" is not a list of texts, integers, booleans and nulls')
    elif kind == "enum":
        if not isinstance(doc.get("name"), str) or not isinstance(doc.get("members"), dict):
            yield Problem(where, 'an enum has a "name" and "members"')
    elif kind in ("dataclass", "pydantic", "namedtuple"):
        yield from _record_problems(doc, where, depth)
    else:
        yield Problem(where, "is not a type document")


def _record_problems(doc: dict[str, Any], where: str, depth: int) -> Iterator[Problem]:
    fields = doc.get("fields")
    if not isinstance(doc.get("name"), str) or not isinstance(fields, list):
        yield Problem(where, f'a {doc["kind"]} has a "name" and "fields"')
        return
    for i, field in enumerate(fields):
        if not isinstance(field, dict) or not isinstance(field.get("name"), str):
            yield Problem(f"{where}.fields[{i}]", "has no name")
        else:
            yield from type_problems(field.get("type"), f"{where}.{field['name']}", depth + 1)


def interface_problems(doc: Any, where: str) -> Iterator[Problem]:
    """What keeps `doc` from being an interface: each port has a name of its own and a type."""
    if not isinstance(doc, dict) or not all(isinstance(doc.get(side), list) for side in ("inputs", "outputs")):
        yield Problem(where, 'an interface has the lists "inputs" and "outputs"')
        return
    for side in ("inputs", "outputs"):
        names: set[str] = set()
        for i, port in enumerate(doc[side]):
            name = port.get("name") if isinstance(port, dict) else None
            if not isinstance(name, str) or not name or name in names:
                yield Problem(f"{where}.{side}[{i}]", "has no name of its own")
                continue
            names.add(name)
            wrong = list(type_problems(port.get("type"), f"{where}.{side}.{name}"))
            yield from wrong
            if not wrong and side == "inputs" and "default" in port:
                yield from ref_problems(port["default"], port["type"], f"{where}.{side}.{name}.default")


def task_problems(name: str, doc: Any, where: str) -> Iterator[Problem]:
    """What keeps `doc` from being the document of task `name`. Its options are looked at too."""
    if not isinstance(doc, dict):
        yield Problem(where, "is not a task document")
        return
    if doc.get("name") != (name.rpartition(":")[2] if "bundle" in doc else name):
        yield Problem(where, "its name is not the one it is listed under")
    if doc.get("bundle") is not None and not is_digest(doc["bundle"]):
        yield Problem(f"{where}.bundle", "is neither null nor a SHA-256 in hex")
    wrong = list(interface_problems(doc.get("interface"), f"{where}.interface"))
    yield from wrong
    kind = doc.get("kind")
    if kind not in KINDS:
        yield Problem(f"{where}.kind", f"{kind!r} is not known: kinds are {', '.join(KINDS)}")
    elif kind != "container" and not _matches(ENTRYPOINT, doc.get("entrypoint")):
        yield Problem(f"{where}.entrypoint", 'is not "module:function"')
    elif kind == "dynamic" and doc.get("cache") is not None:
        yield Problem(f"{where}.cache", "a dynamic task is not cached: the tasks that it calls are")
    elif kind == "container" and not wrong:
        yield from container_problems(doc, where)
    elif kind in WAITS and not wrong and not _has_ports_of_kind(doc):
        yield Problem(f"{where}.interface", f"is not that of {kind}")
    if not is_digest(doc.get("code_digest")):
        yield Problem(f"{where}.code_digest", "is not a SHA-256 in hex")
    yield from option_problems({key: doc.get(key) for key in OPTIONS}, where)


_PORTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "approve": ({"message": "str"}, {"result"}),
    "wait_for": ({"message": "str"}, {"result"}),
    "sleep": ({"seconds": "float"}, set()),
}


def _has_ports_of_kind(doc: dict[str, Any]) -> bool:
    """Whether a task that waits has the inputs and outputs that the engine will look for."""
    try:
        inputs = {port["name"]: port["type"]["kind"] for port in doc["interface"]["inputs"]}
        outputs = {port["name"]: port["type"]["kind"] for port in doc["interface"]["outputs"]}
    except (KeyError, TypeError):
        return False
    wanted, given = _PORTS[doc["kind"]]
    return inputs == wanted and outputs.keys() == given and (doc["kind"] != "approve" or outputs["result"] == "bool")


def ref_problems(ref: Any, wanted: TypeDoc, where: str) -> Iterator[Problem]:
    """What keeps a value reference from being one, or from fitting a type as far as it shows without its data."""
    try:
        is_ref = _is_ref(ref)
    except RecursionError:
        yield Problem(where, "is nested too deeply")
        return
    if not is_ref:
        yield Problem(where, "is not a value reference")
        return
    given = _type_of_ref(ref)
    if given is None:
        yield Problem(where, "is not a value reference: it has neither its value nor a blob")
    elif not _fits(wanted, given, ref):
        yield Problem(where, f"{spell(wanted)} is wanted, {spell(given)} is given")


def _is_ref(ref: Any, depth: int = 0) -> bool:
    """Whether it has the form of a reference, and its value, and all that it names, have theirs."""
    if not isinstance(ref, dict) or not is_digest(ref.get("digest")) or not is_size(ref.get("size")):
        return False
    kind, named = ref.get("type"), ref.get("items", [])
    if not isinstance(kind, str) or kind not in REFERENCES or not isinstance(named, list) or depth > _DEPTH:
        return False
    if is_ambiguous(ref) or ("inline" in ref and formless(ref["inline"]) is not None):
        return False
    if isinstance(ref.get("inline"), list | dict):
        named = [*named, *(inner for _, inner in nested(ref["inline"]))]
    return (kind != "list" or is_size(ref.get("length"))) and all(_is_ref(one, depth + 1) for one in named)


def _type_of_ref(ref: dict[str, Any]) -> TypeDoc | None:
    if ref["type"] != "json":
        known = (ref["type"] == "list" and "items" in ref) or is_digest(ref.get("blob"))
        return {"kind": ref["type"], **({"items": {"kind": "any"}} if ref["type"] == "list" else {})} if known else None
    if "inline" not in ref:
        return {"kind": "any"} if is_digest(ref.get("blob")) else None
    return _type_of_tagged(ref["inline"])


def _type_of_tagged(value: Any) -> TypeDoc:
    if not isinstance(value, dict):
        plain = {type(None): "none", bool: "bool", int: "int", str: "str"}
        return {"kind": plain.get(type(value), "any")}
    ((tag, inner),) = value.items()
    kind = KIND_OF_TAG[tag]
    return {"kind": kind, "name": inner[0]} if kind in ("enum", "record") else {"kind": kind}


def _fits(wanted: TypeDoc, given: TypeDoc, ref: dict[str, Any]) -> bool:
    """By kind and class name only: what is inside was checked where the Python value was at hand."""
    kinds = (wanted["kind"], given["kind"])
    if wanted["kind"] == "union":
        return any(_fits(one, given, ref) for one in wanted["of"])
    if wanted["kind"] == "literal" and "inline" in ref:
        return any(type(v) is type(ref.get("inline")) and v == ref.get("inline") for v in wanted["values"])
    if "name" in wanted and "name" in given:
        return bool(wanted["name"] == given["name"])
    if kinds[0] == kinds[1] or "any" in kinds or "pickle" in kinds:
        return True
    return kinds == ("float", "int") and accepts(wanted, given) is None


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
