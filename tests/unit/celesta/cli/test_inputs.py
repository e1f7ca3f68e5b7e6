import json
import re
from pathlib import Path
from typing import Any

import pytest

from celesta.cli.inputs import LocalPath, collect, flags_of, parse
from celesta.cli.values import split
from celesta.codecs import blobs, encode, verify
from celesta.errors import InputError
from celesta.files import File
from celesta.store.local import LocalStore


def interface(**types: Any) -> dict[str, Any]:
    """`name={"kind": …}` is required, `name=({"kind": …}, False)` is not."""
    inputs = []
    for name, given in types.items():
        doc, required = given if isinstance(given, tuple) else (given, True)
        inputs.append({"name": name, "type": doc, "required": required})
    return {"inputs": inputs, "outputs": []}


INT, STR, BOOL, NONE = {"kind": "int"}, {"kind": "str"}, {"kind": "bool"}, {"kind": "none"}


def test_underscores_become_dashes() -> None:
    assert [flag.option for flag in flags_of(interface(n_items=INT))] == ["--n-items"]


def test_a_bool_has_a_negative_flag() -> None:
    (flag,) = flags_of(interface(shuffle=BOOL))
    assert (flag.option, flag.negative) == ("--shuffle", "--no-shuffle")


def test_a_negative_flag_gives_way_to_another_input() -> None:
    first, second = flags_of(interface(shuffle=BOOL, no_shuffle=INT))
    assert first.negative is None
    assert second.option == "--no-shuffle"


@pytest.mark.parametrize("name", ["local", "wait", "no_cache", "json", "project", "input", "help", "_"])
def test_an_input_that_clashes_with_an_option_has_no_flag(name: str) -> None:
    assert [flag.option for flag in flags_of(interface(**{name: STR}))] == [None]


def test_a_bool_does_not_take_the_negative_of_an_option() -> None:
    assert flags_of(interface(cache=BOOL))[0].negative is None


@pytest.mark.parametrize(
    ("text", "doc", "value"),
    [
        ("3", INT, 3),
        ("-3", INT, -3),
        ("1e-3", {"kind": "float"}, 0.001),
        ("3", STR, "3"),
        ("[1]", STR, "[1]"),
        ("No", BOOL, False),
        ("[0.1, 2]", {"kind": "list", "items": {"kind": "float"}}, [0.1, 2]),
        ('{"a": 1}', {"kind": "dict", "keys": STR, "values": INT}, {"a": 1}),
        ("[1, 2]", {"kind": "tuple", "items": [INT, INT]}, [1, 2]),
        ('{"c": 1}', {"kind": "dataclass", "name": "m:Point", "fields": []}, {"c": 1}),
        ("2", {"kind": "literal", "values": ["a", 2]}, 2),
        ("true", {"kind": "literal", "values": [True]}, True),
        ("RED", {"kind": "enum", "name": "m:Color", "members": {"RED": 1}}, "RED"),
        ("null", {"kind": "union", "of": [INT, NONE]}, None),
        ("7", {"kind": "union", "of": [STR, INT]}, 7),
        ("seven", {"kind": "union", "of": [STR, INT]}, "seven"),
        ("[1]", {"kind": "any"}, [1]),
        ("plain", {"kind": "any"}, "plain"),
        ("NaN", {"kind": "any"}, "NaN"),
        ("2026-01-02", {"kind": "date"}, "2026-01-02"),
    ],
)
def test_a_text_means_a_value_of_the_type(text: str, doc: dict[str, Any], value: object) -> None:
    assert parse(text, doc) == value


@pytest.mark.parametrize(
    ("text", "doc", "reason"),
    [
        ("1.5", INT, "'1.5' is not an integer"),
        ("x", {"kind": "float"}, "not a number"),
        ("maybe", BOOL, "neither true nor false"),
        ("1,2", {"kind": "list", "items": INT}, "not JSON"),
        ("{}", {"kind": "list", "items": INT}, "not a JSON array"),
        ("[]", {"kind": "dict", "keys": STR, "values": INT}, "not a JSON object"),
        ("blue", {"kind": "enum", "name": "m:Color", "members": {"RED": 1}}, "not one of RED"),
        ("x", {"kind": "union", "of": [INT, NONE]}, "not null; 'x' is not an integer"),
        ("/no/such/file", {"kind": "file"}, "no file"),
    ],
)
def test_a_text_that_does_not_fit_says_what_is_wanted(text: str, doc: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(text, doc)


def test_a_file_is_given_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.touch()
    assert parse(str(path), {"kind": "file"}) == LocalPath(path)
    assert parse(f'["{path}"]', {"kind": "list", "items": {"kind": "file"}}) == [LocalPath(path)]


def test_an_optional_file_is_given_by_its_path(tmp_path: Path) -> None:
    assert parse(str(tmp_path), {"kind": "union", "of": [{"kind": "directory"}, NONE]}) == LocalPath(tmp_path)


def test_pairs_give_what_has_no_flag() -> None:
    assert collect(interface(local=INT), {}, ["local=3"]) == {"local": 3}


def test_what_is_not_given_is_left_to_its_default() -> None:
    assert collect(interface(n=(INT, False)), {}) == {}


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        collect(interface(a=INT, b=INT, c=INT), {"a": "x"}, ["d=1", "e"])
    assert [problem.where for problem in caught.value.problems] == ["--input d=1", "--input e", "a", "b", "c"]


def test_json_that_is_nested_too_deeply_is_refused_or_is_text() -> None:
    deep = "[" * 100_000
    with pytest.raises(InputError, match="nested too deeply"):
        collect(interface(x={"kind": "list", "items": INT}), {"x": deep})
    assert collect(interface(x={"kind": "any"}), {"x": deep}) == {"x": deep}


FILE = {"kind": "file"}
PAIR = {"kind": "tuple", "items": [INT, FILE]}
OPTIONAL = {"kind": "union", "of": [FILE, NONE]}
TRAINED = {
    "kind": "dataclass",
    "name": "m:Trained",
    "fields": [
        {"name": "model", "type": FILE, "required": True},
        {"name": "score", "type": {"kind": "float"}, "required": True},
    ],
}


@pytest.mark.parametrize(
    ("doc", "given"),
    [
        ({"kind": "list", "items": FILE}, ["PATH"]),
        ({"kind": "list", "items": OPTIONAL}, ["PATH", None]),
        ({"kind": "dict", "keys": STR, "values": FILE}, {"a": "PATH"}),
        ({"kind": "dict", "keys": INT, "values": {"kind": "list", "items": FILE}}, {"1": ["PATH"]}),
        (PAIR, [1, "PATH"]),
        ({"kind": "tuple", "items": [], "rest": OPTIONAL}, [None, "PATH"]),
        ({"kind": "union", "of": [NONE, PAIR]}, [1, "PATH"]),
        (TRAINED, {"model": "PATH", "score": 1}),
        ({"kind": "list", "items": TRAINED}, [{"model": "PATH", "score": 1}]),
    ],
)
def test_files_are_given_wherever_a_type_holds_them(doc: Any, given: Any, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("data")
    store = LocalStore(tmp_path / "store")
    text = json.dumps(given).replace("PATH", str(tmp_path / "f.txt"))
    plain, refs = split(collect(interface(x=doc), {"x": text}), interface(x=doc), store)
    assert plain == {}
    assert [digest for _, digest in blobs(refs["x"], store) if store.get_blob(digest) == b"data"]
    assert verify(refs["x"], store) == []


def test_what_holds_files_is_what_python_gives(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("data")
    store, doc = LocalStore(tmp_path / "store"), {"kind": "dict", "keys": INT, "values": PAIR}
    values = collect(interface(x=doc), {"x": json.dumps({"7": [1, str(tmp_path / "f.txt")]})})
    assert split(values, interface(x=doc), store)[1]["x"] == encode({7: (1, File(tmp_path / "f.txt"))}, doc, store)


@pytest.mark.parametrize(
    ("doc", "text", "message"),
    [
        ({"kind": "list", "items": FILE}, "[5]", r"\[0\]: 5 is no path of a file; write it as text"),
        ({"kind": "dict", "keys": STR, "values": FILE}, '{"a": "gone"}', "a: there is no file 'gone'"),
        (PAIR, "[1, null]", r"\[1\]: null is no path"),
        ({"kind": "list", "items": OPTIONAL}, '["gone"]', "there is no file 'gone'"),
        (TRAINED, '{"model": 5, "score": 1}', "model: 5 is no path"),
        ({"kind": "table"}, "x.csv", "take a File and read it in a task"),
        ({"kind": "dict", "keys": STR, "values": {"kind": "ndarray"}}, '{"a": [1]}', "a: a ndarray cannot be given"),
    ],
)
def test_what_is_no_path_is_told_with_its_place(doc: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(interface(x=doc), {"x": text})


def test_nothing_is_stored_of_inputs_that_are_not_right(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("data")
    store, doc = LocalStore(tmp_path / "store"), {"kind": "list", "items": PAIR}
    values = collect(interface(x=doc), {"x": json.dumps([["one", str(tmp_path / "f.txt")], [2]])})
    with pytest.raises(InputError) as caught:
        split(values, interface(x=doc), store)
    assert [problem.where for problem in caught.value.problems] == ["x[0][0]", "x[1]"]
    assert [*store.list("")] == []
