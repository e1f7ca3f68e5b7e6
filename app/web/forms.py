"""The launch form: fields from a workflow's interface, and the inputs of a run from what was sent.

Owns how each type is asked for and read. Mistakes are told beside their fields; what a field lets through is checked
again by `app.services.run_launch`, whose problems come back through `blame`.
"""

import json
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.datastructures import FileStorage, MultiDict

from celesta.codecs import preview, to_plain
from celesta.errors import Problem
from celesta.store import Store

Document = dict[str, Any]
OPTIONS = ("no_cache", "refresh")
CONTROLS = {"bool": "checkbox", "int": "number", "float": "number", "str": "text", "date": "date", "file": "file"}
BY_REFERENCE = ("file", "directory", "ndarray", "table", "pickle")
Keep = Callable[[Path], tuple[str, int]]
"""Stores an uploaded file for the project; its digest and size."""
FIRST_NAME = re.compile(r"(?:inputs\.)?([^.\[]+)")


@dataclass
class Field:
    """One input: how it is asked for, and what is in it."""

    name: str
    type: Document
    required: bool
    hint: str
    value: str = ""
    ref: Document | None = None
    """What stays when nothing new is given: the value of an earlier run, for kinds that no text field holds."""
    error: str | None = None

    @property
    def kind(self) -> str:
        return str(inner(self.type)["kind"])

    @property
    def control(self) -> str:
        if self.choices:
            return "select"
        return CONTROLS.get(self.kind, "json")

    @property
    def step(self) -> str:
        return "1" if self.kind == "int" else "any"

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Texts to choose from, each with the JSON that it stands for."""
        found = inner(self.type)
        if found["kind"] == "enum":
            return [(json.dumps(name), name) for name in found["members"]]
        if found["kind"] == "literal":
            return [(json.dumps(value), str(value)) for value in found["values"]]
        return []

    def read(self, text: str) -> Any:
        """The plain value of what was typed. Raises `ValueError` with words for people."""
        if self.choices:
            return json.loads(text)
        if self.kind == "bool":
            return {"true": True, "false": False}[text]
        if self.kind == "int":
            return _number(int, text, "a whole number")
        if self.kind == "float":
            return _number(float, text, "a number")
        if self.kind in ("str", "date", "datetime"):
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from error
        except RecursionError:
            raise ValueError("is nested too deeply") from None

    def show(self, value: Any) -> str:
        """The text of a plain value in this field; what `read` reads back."""
        if self.choices or self.control == "json":
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)


@dataclass
class LaunchForm:
    fields: list[Field]
    options: dict[str, bool] = field(default_factory=dict)
    idempotency_key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    """Sent along, so that a form sent twice launches once."""
    problem: str | None = None
    inputs: Document = field(default_factory=dict)
    input_refs: Document = field(default_factory=dict)

    @classmethod
    def fresh(cls, interface: Document, earlier: Mapping[str, Document], store: Store) -> "LaunchForm":
        """A form with the defaults in it, or with the inputs of an earlier run."""
        form = cls([_field(port) for port in interface["inputs"]])
        for each, port in zip(form.fields, interface["inputs"], strict=True):
            ref = earlier.get(each.name) or port.get("default")
            if ref is None:
                continue
            if each.kind in BY_REFERENCE:
                each.ref = ref if each.name in earlier else None
            else:
                plain = to_plain(ref, store)
                each.value = "" if plain is None else each.show(plain)
        return form

    @classmethod
    def sent(
        cls, interface: Document, given: MultiDict[str, str], files: MultiDict[str, FileStorage], keep: Keep
    ) -> "LaunchForm":
        """A form as a browser sent it, read into `inputs` and `input_refs`. An uploaded file stays chosen when the form
        is shown again."""
        form = cls([_field(port) for port in interface["inputs"]])
        form.options = {name: f"option:{name}" in given for name in OPTIONS}
        form.idempotency_key = given.get("idempotency_key") or form.idempotency_key
        for each in form.fields:
            each.value = given.get(f"input:{each.name}", "")
            each.ref = _reference(given.get(f"ref:{each.name}", ""))
            file = files.get(f"input:{each.name}")
            if file is not None and file.filename:
                each.ref = _stored(file, keep)
            form._read(each)
        return form

    @property
    def is_wrong(self) -> bool:
        return self.problem is not None or any(each.error for each in self.fields)

    def blame(self, problems: Iterable[Problem]) -> None:
        """Puts each problem beside its field, and the rest above the form."""
        by_name = {each.name: each for each in self.fields}
        for where, message in problems:
            match = FIRST_NAME.match(where)
            named = by_name.get(match.group(1)) if match else None
            if named is None:
                self.problem = f"{where}: {message}" if where else message
            else:
                named.error = message if where.endswith(named.name) else f"{where}: {message}"

    def _read(self, each: Field) -> None:
        if each.kind in BY_REFERENCE and not each.value:
            if each.ref:
                self.input_refs[each.name] = each.ref
            elif each.required:
                each.error = "is required"
        elif each.value == "" and (each.kind != "str" or not each.required):
            if each.required:
                each.error = "is required"
        else:
            self._take(each)

    def _take(self, each: Field) -> None:
        try:
            value = each.read(each.value)
        except (ValueError, KeyError) as error:
            each.error = str(error)
            return
        (self.input_refs if each.kind in BY_REFERENCE else self.inputs)[each.name] = value


def inner(type_doc: Document) -> Document:
    """`X | None` is asked for like `X`: an empty field is the default."""
    if type_doc["kind"] == "union":
        members = [member for member in type_doc["of"] if member["kind"] != "none"]
        if len(members) == 1:
            found: Document = members[0]
            return found
    return type_doc


def type_name(type_doc: Document) -> str:
    """A type as Python people write it."""
    kind = type_doc["kind"]
    if kind in ("list", "set"):
        return f"{kind}[{type_name(type_doc['items'])}]"
    if kind == "dict":
        return f"dict[{type_name(type_doc['keys'])}, {type_name(type_doc['values'])}]"
    if kind == "tuple":
        return f"tuple[{', '.join(map(type_name, type_doc['items']))}]"
    if kind == "union":
        return " | ".join(map(type_name, type_doc["of"]))
    if kind == "literal":
        return f"one of {', '.join(map(str, type_doc['values']))}"
    if "name" in type_doc:
        return str(type_doc["name"]).rpartition(":")[2]
    return str({"none": "None", "file": "File", "directory": "Directory"}.get(kind, kind))


def _field(port: Document) -> Field:
    default = port.get("default")
    parts = [type_name(port["type"]), port.get("doc") or ""]
    if default is not None:
        parts.append(f"default {preview(default)}")
    elif inner(port["type"])["kind"] in BY_REFERENCE[1:]:
        parts.append("give the `ref` of an artifact, as JSON")
    return Field(port["name"], port["type"], bool(port["required"]), " · ".join(filter(None, parts)))


def _number(kind: Any, text: str, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"wants {what}, not {text!r}") from None


def _reference(text: str) -> Document | None:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _stored(file: FileStorage, keep: Keep) -> Document:
    """The reference of an uploaded file, whose bytes are in the store then."""
    with tempfile.TemporaryDirectory(prefix="celesta-upload-") as folder:
        path = Path(folder) / "file"
        file.save(path)
        digest, size = keep(path)
    name = Path(str(file.filename)).name
    media_type = file.mimetype or "application/octet-stream"
    return {"type": "file", "digest": digest, "size": size, "blob": digest, "name": name, "media_type": media_type}
