"""Flags of a workflow's inputs, and what people type turned into plain values.

`run` and `launch` make their flags from an interface (the contracts, section 3) and give the typed texts to `collect`.
Pure: nothing is opened or sent, a file stays a path until the caller stores it. All problems are told at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celesta.errors import InputError, Problem

RESERVED = frozenset({"local", "wait", "no-wait", "no-cache", "refresh", "project", "json", "input", "help"})
"""Options of `run` and `launch`, without dashes."""
TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
ORDER = ("none", "bool", "int", "float", "literal", "enum", "datetime", "date", "file", "directory")
"""In a union the narrow kinds are tried before the wide ones; a text fits `str` always."""

APART = ("ndarray", "table", "pickle")
"""Kinds that no text stands for."""
_ANY = {"kind": "any"}


@dataclass(frozen=True)
class LocalPath:
    """A file or folder on this machine that stands for a `File` or `Directory` input."""

    path: Path


@dataclass(frozen=True)
class Flag:
    """How one input is given on the command line."""

    name: str
    type: dict[str, Any]
    required: bool
    option: str | None
    """`--n-items`; None when it clashes with an option of the command, then only `--input name=value` works."""
    negative: str | None = None
    """`--no-shuffle`, for an input that is a bool."""


def flags_of(interface: Mapping[str, Any]) -> list[Flag]:
    """The flags of an interface's inputs, in its order."""
    taken = set(RESERVED)
    options: dict[str, str | None] = {}
    for given in interface["inputs"]:
        long = given["name"].replace("_", "-").strip("-")
        options[given["name"]] = f"--{long}" if long and long not in taken else None
        taken.add(long)
    flags = []
    for given in interface["inputs"]:
        option, negative = options[given["name"]], None
        if option and given["type"]["kind"] == "bool" and f"no-{option[2:]}" not in taken:
            negative = f"--no-{option[2:]}"
        flags.append(Flag(given["name"], given["type"], given["required"], option, negative))
    return flags


def collect_given(interface: Mapping[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """Values of `name=value` pairs alone: what is not given is known already, or told of by the server."""
    optional = [given | {"required": False} for given in interface["inputs"]]
    return collect({"inputs": optional}, {}, pairs)


def collect(interface: Mapping[str, Any], typed: Mapping[str, str | bool], pairs: Sequence[str] = ()) -> dict[str, Any]:
    """Values by input name from typed flags and `name=value` pairs. Raises `InputError` with every problem."""
    types = {given["name"]: given["type"] for given in interface["inputs"]}
    problems: list[Problem] = []
    texts: dict[str, str | bool] = dict(typed)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in types:
            known = f"the inputs are {', '.join(types)}" if types else "the workflow takes no inputs"
            problems.append(Problem(f"--input {pair}", known if equals else "write it as name=value"))
        else:
            texts[name] = text
    values = {}
    for name, typed_text in texts.items():
        try:
            values[name] = typed_text if isinstance(typed_text, bool) else parse(typed_text, types[name])
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    missing = [given["name"] for given in interface["inputs"] if given["required"] and given["name"] not in texts]
    problems += [Problem(name, "is required and has no default") for name in missing]
    if problems:
        raise InputError("the inputs are not right", problems=problems)
    return values


def parse(text: str, doc: Mapping[str, Any]) -> Any:
    """The plain value that a text means for a type; `ValueError` says what is wanted."""
    kind = doc["kind"]
    if kind in ("str", "bytes", "datetime", "date"):
        return text
    if kind in ("file", "directory"):
        return _path(text, kind)
    if kind == "any":
        return _json_or_text(text)
    if kind in _SCALARS:
        return _SCALARS[kind](text)
    if kind in APART:
        raise ValueError(_unreadable(kind))
    if kind in ("literal", "enum"):
        return _one_of(text, doc["values"] if kind == "literal" else list(doc["members"]))
    if kind == "union":
        return _union(text, doc)
    return _json(text, doc)


def _union(text: str, doc: Mapping[str, Any]) -> Any:
    members = sorted(doc["of"], key=lambda d: ORDER.index(d["kind"]) if d["kind"] in ORDER else len(ORDER))
    members.sort(key=lambda d: d["kind"] == "str")
    reasons = []
    for member in members:
        try:
            return parse(text, member)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; ".join(reasons))


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an integer") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _boolean(text: str) -> bool:
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def _none(text: str) -> None:
    if text.lower() not in ("null", "none"):
        raise ValueError(f"{text!r} is not null")


_SCALARS = {"int": _integer, "float": _number, "bool": _boolean, "none": _none}


def _path(text: str, kind: str) -> LocalPath:
    path = Path(text).expanduser()
    if kind == "file" and not path.is_file():
        raise ValueError(f"there is no file {text!r}")
    if kind == "directory" and not path.is_dir():
        raise ValueError(f"there is no folder {text!r}")
    return LocalPath(path.absolute())


def _one_of(text: str, values: Sequence[Any]) -> Any:
    for value in values:
        if text == (json.dumps(value) if isinstance(value, bool | None) else str(value)) or text == str(value):
            return value
    raise ValueError(f"{text!r} is not one of {', '.join(map(str, values))}")


def _json(text: str, doc: Mapping[str, Any]) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"{text[:20]}… is nested too deeply") from None
    wanted = {"list": list, "set": list, "tuple": list}.get(doc["kind"], dict)
    if not isinstance(value, wanted):
        example = "[1, 2]" if wanted is list else '{"a": 1}'
        raise ValueError(f"{text!r} is not a JSON {'array' if wanted is list else 'object'}, such as {example}")
    return _with_paths(value, doc)


def _with_paths(value: Any, doc: Mapping[str, Any]) -> Any:
    """The value with every text that stands for a file replaced by its path. Other parts are for their types to check,
    when all inputs are at hand."""
    kind = doc["kind"]
    if kind in ("file", "directory"):
        if not isinstance(value, str):
            raise ValueError(f"{json.dumps(value):.60} is no path of a {kind}; write it as text")
        return _path(value, kind)
    if kind in APART:
        raise ValueError(_unreadable(kind))
    if kind == "union":
        return _member_with_paths(value, doc)
    if isinstance(value, list):
        docs = _docs_of_items(doc, len(value))
        return [_part(f"[{n}]", item, each) for n, (item, each) in enumerate(zip(value, docs, strict=True))]
    if isinstance(value, dict):
        fields = {field["name"]: field["type"] for field in doc.get("fields", ())}
        return {name: _part(name, item, fields.get(name) or doc.get("values") or _ANY) for name, item in value.items()}
    return value


def _docs_of_items(doc: Mapping[str, Any], length: int) -> list[Mapping[str, Any]]:
    items = doc.get("items")
    if isinstance(items, list) and len(items) == length:
        return items
    return [doc.get("rest") or (items if isinstance(items, dict) else _ANY)] * length


def _part(place: str, value: Any, doc: Mapping[str, Any]) -> Any:
    try:
        return _with_paths(value, doc)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _member_with_paths(value: Any, doc: Mapping[str, Any]) -> Any:
    """By the first member that makes a path of it; else the value itself, where another member takes it."""
    reasons = []
    for member in doc["of"]:
        try:
            found = _with_paths(value, member)
        except ValueError as error:
            reasons.append(str(error))
        else:
            if holds_path(found):
                return found
    if len(reasons) < len(doc["of"]) and not (isinstance(value, str) and _takes_no_text(doc)):
        return value
    raise ValueError("; ".join(reasons))


def _takes_no_text(doc: Mapping[str, Any]) -> bool:
    return all(member["kind"] in ("file", "directory", "none", "bool", "int", "float") for member in doc["of"])


def holds_path(value: Any) -> bool:
    """Whether a file or folder of this machine is in a value."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, LocalPath) or any(map(holds_path, parts))


def _unreadable(kind: str) -> str:
    return f"a {kind} cannot be given here: launch from Python, or take a File and read it in a task"


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value
