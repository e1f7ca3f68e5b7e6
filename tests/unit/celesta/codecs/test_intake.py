import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import decode, encode, from_plain, to_plain, verify
from celesta.errors import InputError
from celesta.store.local import LocalStore
from celesta.types import type_of
from tests.unit.celesta.codecs import samples
from tests.unit.celesta.codecs.samples import (
    Colour,
    Config,
    Defaults,
    Doubled,
    Finished,
    Node,
    Point,
    Raised,
    Rate,
    Settings,
    Split,
    Trained,
    Untold,
)

INT, FLOAT, STR, ANY, NONE = ({"kind": kind} for kind in ("int", "float", "str", "any", "none"))
POINT = {
    "kind": "dataclass",
    "name": f"{samples.__name__}:Point",
    "fields": [
        {"name": "x", "type": FLOAT, "required": True},
        {"name": "y", "type": FLOAT, "required": False, "default": 0.0},
    ],
}
COLOUR = {"kind": "enum", "name": f"{samples.__name__}:Colour", "members": {"RED": "red", "BLUE": "blue"}}


def union(*members: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "union", "of": list(members)}


def listing(items: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "list", "items": items}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("plain", "doc", "value"),
    [
        (1, INT, 1),
        (1, FLOAT, 1.0),
        ("inf", FLOAT, math.inf),
        (1, ANY, 1),
        (1.0, ANY, 1.0),
        ("x", STR, "x"),
        (None, NONE, None),
        (True, {"kind": "bool"}, True),
        ("eA==", {"kind": "bytes"}, b"x"),
        ("2024-01-02T03:04:05Z", {"kind": "datetime"}, dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
        ("2024-01-02", {"kind": "date"}, dt.date(2024, 1, 2)),
        ([1, 2], listing(FLOAT), [1.0, 2.0]),
        ([[1]], listing(listing(INT)), [[1]]),
        ([1, "a"], ANY, [1, "a"]),
        ({"a": [1, {"b": 2.5}]}, ANY, {"a": [1, {"b": 2.5}]}),
        (list(range(50)), listing(INT), list(range(50))),
        ({"1": 2}, {"kind": "dict", "keys": INT, "values": FLOAT}, {1: 2.0}),
        ([1, "a"], {"kind": "tuple", "items": [INT, STR]}, (1, "a")),
        ([1, 2], {"kind": "tuple", "items": [], "rest": INT}, (1, 2)),
        ([2, 1, 2], {"kind": "set", "items": INT}, {1, 2}),
        ([2, 1, 2], {"kind": "set", "items": INT, "frozen": True}, frozenset({1, 2})),
        ("b", {"kind": "literal", "values": ["a", "b"]}, "b"),
        ("RED", COLOUR, Colour.RED),
        ("blue", COLOUR, Colour.BLUE),
        ({"x": 1}, POINT, Point(1.0)),
        ({"x": 1, "y": 2}, POINT, Point(1.0, 2.0)),
        (None, union(INT, NONE), None),
        (3, union(FLOAT, INT), 3),
        (3, union(STR, FLOAT), 3.0),
        ("nan", union(FLOAT, STR), "nan"),
        ([{"x": 1}], listing(union(POINT, NONE)), [Point(1.0)]),
        ([1], union(NONE, listing(FLOAT)), [1.0]),
        ("x" * 5000, STR, "x" * 5000),
    ],
)
def test_plain_json_gives_the_reference_of_the_same_python_value(
    plain: Any, doc: dict[str, Any], value: Any, store: LocalStore, tmp_path: Path
) -> None:
    ref = from_plain(plain, doc, store)
    assert ref == encode(value, doc, store)
    assert repr(decode(ref, doc, store, tmp_path)) == repr(value)


@pytest.mark.parametrize("cls", [Defaults, Settings])
def test_fields_left_out_give_the_reference_of_an_object_made_without_them(cls: Any, store: LocalStore) -> None:
    doc = json.loads(json.dumps(type_of(cls), allow_nan=False))
    assert from_plain({}, doc, store) == encode(cls(), doc, store)


@pytest.mark.parametrize("cls", [Defaults, Settings, Untold])
def test_fields_left_out_are_what_the_class_makes_them(cls: Any, store: LocalStore, tmp_path: Path) -> None:
    doc = json.loads(json.dumps(type_of(cls), allow_nan=False))
    assert repr(decode(from_plain({}, doc, store), doc, store, tmp_path)) == repr(cls())


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ({"percent": 50}, Rate(50.0)),
        ({"x": 2}, Doubled(2)),
        ({"a": 1, "text": "up"}, Raised(a=1, text="up")),
        ({"a": 2}, Finished(a=2)),
        ({"name": "a", "child": {"name": "b"}}, Node(name="a", child=Node(name="b"))),
    ],
)
def test_what_is_given_as_json_is_what_its_class_makes_of_it(
    plain: Any, value: Any, store: LocalStore, tmp_path: Path
) -> None:
    doc = json.loads(json.dumps(type_of(type(value))))
    ref = from_plain(plain, doc, store)
    assert decode(ref, doc, store, tmp_path) == value
    assert to_plain(ref).items() >= plain.items()
    assert verify(ref, store) == []


def test_a_version_that_does_not_tell_of_such_code_has_it_run_as_ever(store: LocalStore, tmp_path: Path) -> None:
    doc = {name: part for name, part in type_of(Rate).items() if name != "makes"}
    assert decode(from_plain({"percent": 50}, doc, store), doc, store, tmp_path) == Rate(50.0)


def test_what_is_given_to_a_class_has_another_digest_than_what_it_holds(store: LocalStore) -> None:
    """Else a step that was given 50 would be answered with the result for a rate that holds 50."""
    held = Rate(5000.0)
    assert from_plain({"percent": held.percent}, type_of(Rate), store)["digest"] != encode(held, ANY, store)["digest"]


@pytest.mark.parametrize("cls", [Rate, Doubled, Raised, Finished])
def test_the_type_tells_of_a_class_that_its_code_decides_what_it_holds(cls: Any) -> None:
    assert type_of(cls)["makes"] is True


@pytest.mark.parametrize("cls", [Point, Defaults, Settings, Node, Untold, Config, Trained, Split])
def test_the_type_of_other_classes_is_silent_of_it(cls: Any) -> None:
    assert "makes" not in type_of(cls)


@pytest.mark.parametrize(
    ("plain", "doc", "problems"),
    [
        ("x", INT, ["n: expected an integer, got 'x'"]),
        (True, INT, ["n: expected an integer, got true"]),
        (1.5, INT, ["n: expected an integer, got 1.5"]),
        (None, FLOAT, ["n: expected a number, got null"]),
        (10**400, FLOAT, ["n: expected a number within the range of a float, got 1" + "0" * 79]),
        (1, STR, ["n: expected a string, got 1"]),
        ({}, STR, ["n: expected a string, got an object"]),
        ("?", {"kind": "bytes"}, ["n: expected bytes as base64, got '?'"]),
        (
            "2024-01-02T03:04:05+01:00[Mars/Base]",
            {"kind": "datetime"},
            ["n: the time zone Mars/Base is not known here; install the package tzdata"],
        ),
        ("soon", {"kind": "datetime"}, ["n: expected a date and time as ISO 8601, got 'soon'"]),
        (["a", 1, "b"], listing(INT), ["n[0]: expected an integer, got 'a'", "n[2]: expected an integer, got 'b'"]),
        (3, listing(INT), ["n: expected a list, got 3"]),
        ({"k": "a"}, {"kind": "dict", "keys": STR, "values": INT}, ["n.k: expected an integer, got 'a'"]),
        ({"k": 1}, {"kind": "dict", "keys": INT, "values": INT}, ["n.k: expected an integer, got 'k'"]),
        ([1], {"kind": "tuple", "items": [INT, INT]}, ["n: expected a list of 2, got a list"]),
        ("c", {"kind": "literal", "values": ["a", "b"]}, ["n: expected one of 'a', 'b', got 'c'"]),
        (True, {"kind": "literal", "values": [1]}, ["n: expected one of 1, got true"]),
        ("GREEN", COLOUR, ["n: expected one of RED, BLUE, got 'GREEN'"]),
        (
            {"z": 1, "y": "a"},
            POINT,
            [
                f"n.z: is not a field of {POINT['name']}",
                "n.x: is missing",
                "n.y: expected a number, got 'a'",
            ],
        ),
        ("x", union(INT, NONE), ["n: expected int or none, got 'x'"]),
        ("model.bin", {"kind": "file"}, ["n: a file has no JSON form; upload it and give its reference in input_refs"]),
    ],
)
def test_what_does_not_fit_is_refused_with_every_problem_and_the_path_to_it(
    plain: Any, doc: dict[str, Any], problems: list[str], store: LocalStore
) -> None:
    with pytest.raises(InputError) as caught:
        from_plain(plain, doc, store, where="n")
    assert [str(problem) for problem in caught.value.problems] == problems


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("plain", "doc", "where", "message"),
    [
        ({"\ud800": 1}, ANY, "n", "no JSON form"),
        ({"a": {"\ud800": 1}}, ANY, "n.a", "no JSON form"),
        ({"\ud800": 1}, {"kind": "dict", "keys": STR, "values": INT}, "n", "no JSON form"),
        ({"\ud800": "x"}, {"kind": "dict", "keys": STR, "values": INT}, "n.\\ud800", "expected an integer"),
        (["\ud800"], {"kind": "set", "items": STR}, "n", "no JSON form"),
        (nested(5000), ANY, "n", "nested too deeply"),
    ],
)
def test_what_has_no_json_form_is_refused_and_the_path_can_be_shown(
    plain: Any, doc: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_plain(plain, doc, where="n")
    assert [problem.where for problem in caught.value.problems] == [where]
    caught.value.problems[0].where.encode()


def test_a_value_too_large_to_be_inline_needs_a_store() -> None:
    with pytest.raises(InputError, match="needs a store"):
        from_plain("x" * 5000, STR)
