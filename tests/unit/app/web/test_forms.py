"""What the launch form asks for each type, and what it makes of what people type."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage, MultiDict

from app.web.forms import LaunchForm, type_name
from celesta.codecs import encode
from celesta.errors import Problem
from celesta.store import Store, open_store

FLOAT, INT, STR, FILE = ({"kind": kind} for kind in ("float", "int", "str", "file"))
Document = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}")


def port(kind: Document, default: Any = ..., name: str = "x") -> Document:
    given = {} if default is ... else {"default": encode(default, {"kind": "any"}, None)}
    return {"name": name, "type": kind, "required": default is ...} | given


def sent(store: Store, *ports: Document, files: Any = (), **fields: str) -> LaunchForm:
    given = MultiDict({name.replace("__", ":"): value for name, value in fields.items()})
    return LaunchForm.sent({"inputs": list(ports)}, given, MultiDict(files), store.put_blob_file)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (INT, "3", 3),
        (FLOAT, "0.1", 0.1),
        (STR, "3", "3"),
        ({"kind": "bool"}, "false", False),
        ({"kind": "list", "items": INT}, "[1, 2]", [1, 2]),
        ({"kind": "literal", "values": ["a", 2]}, "2", 2),
        ({"kind": "enum", "name": "m:C", "members": {"RED": 1}}, '"RED"', "RED"),
        ({"kind": "union", "of": [INT, {"kind": "none"}]}, "7", 7),
        ({"kind": "date"}, "2026-01-02", "2026-01-02"),
        ({"kind": "dict", "keys": STR, "values": INT}, '{"a": 1}', {"a": 1}),
    ],
)
def test_what_is_typed_becomes_the_value_of_the_type(store: Store, kind: Document, text: str, value: Any) -> None:
    form = sent(store, port(kind), input__x=text)
    assert not form.is_wrong
    assert form.inputs == {"x": value}
    assert type(form.inputs["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (INT, "3.5", "whole number"),
        (FLOAT, "much", "number"),
        ({"kind": "list", "items": INT}, "[1,", "JSON"),
        ({"kind": "any"}, "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told_beside_its_field(store: Store, kind: Document, text: str, words: str) -> None:
    form = sent(store, port(kind), input__x=text)
    assert words in str(form.fields[0].error)
    assert form.fields[0].value == text


def test_an_empty_field_is_the_default_and_a_required_one_is_asked_for(store: Store) -> None:
    form = sent(store, port(INT, 3, "a"), port(INT, name="b"), input__a="", input__b="")
    assert form.inputs == {}
    assert [field.error for field in form.fields] == [None, "is required"]


def test_an_empty_text_is_a_value_where_text_is_required(store: Store) -> None:
    assert sent(store, port(STR), input__x="").inputs == {"x": ""}


def test_a_file_is_stored_and_named_by_reference(store: Store) -> None:
    file = FileStorage(io.BytesIO(b"a,b\n"), filename="../t.csv", content_type="text/csv")
    form = sent(store, port(FILE), files={"input:x": file})
    ref = form.input_refs["x"]
    assert (ref["type"], ref["name"], ref["media_type"], ref["size"]) == ("file", "t.csv", "text/csv", 4)
    assert store.get_blob(ref["blob"]) == b"a,b\n"
    assert form.fields[0].ref == ref, "it stays chosen when the form is shown again"


def test_a_file_of_an_earlier_run_is_kept_unless_another_is_chosen(store: Store) -> None:
    ref = {"type": "file", "digest": "0" * 64, "size": 1, "blob": "0" * 64, "name": "old"}
    form = LaunchForm.fresh({"inputs": [port(FILE)]}, {"x": ref}, store)
    assert form.fields[0].ref == ref
    assert sent(store, port(FILE), ref__x=__import__("json").dumps(ref)).input_refs == {"x": ref}
    assert sent(store, port(FILE), ref__x="{broken").fields[0].error == "is required"


def test_a_fresh_form_shows_what_it_would_read_back(store: Store) -> None:
    kinds = [port(FLOAT, 0.5, "a"), port({"kind": "list", "items": INT}, [1], "b"), port({"kind": "bool"}, True, "c")]
    form = LaunchForm.fresh({"inputs": kinds}, {}, store)
    assert [field.value for field in form.fields] == ["0.5", "[1]", "true"]
    assert [field.read(field.value) for field in form.fields] == [0.5, [1], True]


def test_problems_of_the_launch_stand_beside_their_fields(store: Store) -> None:
    form = sent(store, port(INT), input__x="3")
    form.blame([Problem("x[2].y", "is odd"), Problem("other", "is unknown")])
    assert form.fields[0].error == "x[2].y: is odd"
    assert form.problem == "other: is unknown"


def test_types_are_told_as_python_people_write_them() -> None:
    kind = {"kind": "dict", "keys": STR, "values": {"kind": "union", "of": [FILE, {"kind": "none"}]}}
    assert type_name(kind) == "dict[str, File | None]"
    assert type_name({"kind": "pydantic", "name": "mod:Point", "fields": []}) == "Point"
