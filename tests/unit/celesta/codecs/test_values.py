import datetime as dt
import io
import json
import math
import struct
import subprocess
import sys
from collections import OrderedDict, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from celesta.codecs import decode, encode, from_plain, items, make_dict, make_list, to_plain, verify
from celesta.errors import CodecError
from celesta.files import File
from celesta.store.local import LocalStore
from celesta.types import type_of
from tests.unit.celesta.codecs import samples
from tests.unit.celesta.codecs.samples import (
    Access,
    Colour,
    Config,
    Doubled,
    Finished,
    Level,
    Opaque,
    Point,
    Raised,
    Rate,
    Scaled,
    Split,
    Trained,
)

NAIVE = dt.datetime(2024, 2, 29, 12, 30, 1, 5)  # noqa: DTZ001 - a naive one is meant
NAMELESS = ZoneInfo.from_file(
    io.BytesIO(b"TZif" + bytes(16) + struct.pack(">6llbb4s", 0, 0, 0, 0, 1, 4, 0, 0, 0, b"UTC"))
)
BERLIN = dt.timezone(dt.timedelta(hours=2))
ANY = {"kind": "any"}
FLOAT = {"kind": "float"}
INT = {"kind": "int"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "inputs"


def there_and_back(value: Any, doc: dict[str, Any] | None, store: LocalStore, into: Path) -> Any:
    ref = json.loads(json.dumps(encode(value, doc, store)))
    return decode(ref, doc, store, into)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**70, 1.5, -0.0, 1e300, math.inf, -math.inf, "", "é\u2028\0", b"", b"\x00\xff",
        NAIVE, dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
        dt.datetime(2024, 2, 29, 12, tzinfo=BERLIN), dt.date(2024, 2, 29),
        [], [1, 2.0, "3", None, [4]], {}, {"a": 1, "b": {"c": [1.0]}}, {1: "a", (1, 2): "b"}, (), (1, (2.0,)),
        set(), {1, 2, 3}, Colour.RED, Level.HIGH, Point(1.0, 2.0), Split([1], (2,)), Config(rate=0.5, Name="x"),
        Config(rate=1.0, inner=Point(0.0)), [Point(1.0), Colour.BLUE], {"p": Point(1.0)}, "x" * 5000, list(range(100)),
        {"a": {1, 2}}, {frozenset({1}): 2}, {frozenset({1}), frozenset()},
        frozenset({1}), [frozenset()], {(1, frozenset({2})): {3}},
    ],
)  # fmt: skip
def test_a_value_comes_back_as_it_was(value: Any, store: LocalStore, into: Path) -> None:
    back = there_and_back(value, ANY, store, into)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, dict | set)


def test_nan_comes_back(store: LocalStore, into: Path) -> None:
    assert math.isnan(there_and_back(math.nan, FLOAT, store, into))


def test_naive_and_aware_moments_stay_apart(store: LocalStore, into: Path) -> None:
    assert there_and_back(NAIVE, ANY, store, into).tzinfo is None
    assert encode(NAIVE, ANY, store)["digest"] != encode(NAIVE.replace(tzinfo=dt.UTC), ANY, store)["digest"]


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    ("zone", "day"), [("America/New_York", (3, 9, 12)), ("America/New_York", (11, 3, 1)), ("Etc/GMT+3", (3, 9, 12))]
)
def test_a_moment_comes_back_in_its_zone(zone: str, day: Any, fold: int, store: LocalStore, into: Path) -> None:
    moment = dt.datetime(2024, *day, 30, tzinfo=ZoneInfo(zone), fold=fold)
    back = there_and_back({"at": moment}, ANY, store, into)["at"]
    assert (back.tzinfo, back.utcoffset()) == (moment.tzinfo, moment.utcoffset())
    for days in (0, 1, 200):
        assert (back + dt.timedelta(days)).isoformat() == (moment + dt.timedelta(days)).isoformat()
    ref = encode(moment, ANY, store)
    assert from_plain(to_plain(ref), {"kind": "datetime"}, store) == ref
    assert verify(ref, store) == []


def test_the_zone_of_a_moment_makes_its_digest_and_utc_has_one(store: LocalStore, into: Path) -> None:
    named = dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    fixed = named.astimezone(dt.timezone(dt.timedelta(hours=1)))
    assert encode(named, ANY, store)["digest"] != encode(fixed, ANY, store)["digest"]
    utc = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert encode(utc.replace(tzinfo=ZoneInfo("UTC")), ANY, store) == encode(utc, ANY, store)
    assert there_and_back(utc.replace(tzinfo=ZoneInfo("UTC")), ANY, store, into).tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("value", "doc", "expected"),
    [
        (1, FLOAT, 1.0),
        (1, {"kind": "union", "of": [FLOAT, {"kind": "none"}]}, 1.0),
        ({1}, {"kind": "set", "items": INT, "frozen": True}, frozenset({1})),
        (frozenset({1}), {"kind": "set", "items": INT}, {1}),
        (1, {"kind": "union", "of": [INT, FLOAT]}, 1),
        ([1, 2.5], {"kind": "list", "items": FLOAT}, [1.0, 2.5]),
        ({"a": 1}, {"kind": "dict", "keys": {"kind": "str"}, "values": FLOAT}, {"a": 1.0}),
        ((1, 1), {"kind": "tuple", "items": [FLOAT, INT]}, (1.0, 1)),
        ((1, 1), {"kind": "tuple", "items": [], "rest": FLOAT}, (1.0, 1.0)),
        ({1}, {"kind": "set", "items": FLOAT}, {1.0}),
        (
            Point(1, 2),
            {
                "kind": "dataclass",
                "name": "m:Point",
                "fields": [{"name": "x", "type": FLOAT}, {"name": "y", "type": INT}],
            },
            Point(1.0, 2),
        ),
    ],
)
def test_an_int_where_a_float_is_wanted_is_stored_as_a_float(
    value: Any, doc: dict[str, Any], expected: Any, store: LocalStore, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "m", samples)
    assert repr(there_and_back(value, doc, store, into)) == repr(expected)
    assert encode(value, doc, store)["digest"] == encode(expected, doc, store)["digest"]


def test_a_stored_int_is_read_as_the_float_that_a_step_wants(store: LocalStore, into: Path) -> None:
    ref = encode([1, 2], {"kind": "list", "items": INT}, store)
    assert repr(decode(ref, {"kind": "list", "items": FLOAT}, store, into)) == "[1.0, 2.0]"


def test_numbers_of_numpy_are_stored_as_numbers(store: LocalStore, into: Path) -> None:
    for value, expected in ((np.float64(0.5), 0.5), (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True)):
        back = there_and_back(value, ANY, store, into)
        assert back == expected
        assert type(back) is type(expected)


def test_subclasses_of_plain_containers_are_stored_as_the_plain_ones(store: LocalStore, into: Path) -> None:
    assert there_and_back(OrderedDict(b=1, a=2), ANY, store, into) == {"a": 2, "b": 1}
    assert there_and_back(defaultdict(int, a=1), ANY, store, into) == {"a": 1}


def test_the_order_of_dicts_and_sets_does_not_matter(store: LocalStore) -> None:
    assert encode({"a": 1, "b": 2}, ANY, store) == encode({"b": 2, "a": 1}, ANY, store)
    assert encode({"x", "y", "z"}, ANY, store) == encode({"z", "y", "x"}, ANY, store)


def test_small_values_are_inline_and_larger_ones_are_blobs(store: LocalStore) -> None:
    small, large = encode("x" * 2046, ANY, store), encode("x" * 2047, ANY, store)
    assert small["size"] == 2048
    assert "inline" in small
    assert "blob" not in small
    assert large["blob"] == large["digest"]
    assert store.get_blob(large["blob"]) == b'"' + b"x" * 2047 + b'"'


def test_a_list_of_up_to_16_items_is_inline_and_a_longer_one_a_blob(store: LocalStore, into: Path) -> None:
    assert "items" in encode(list(range(16)), ANY, store)
    ref = encode(list(range(17)), ANY, store)
    assert ref["length"] == 17
    assert "items" not in ref
    assert [item["inline"] for item in items(ref, store)] == list(range(17))
    assert make_list(items(ref, store), store) == ref


def test_a_composed_dict_is_the_dict_made_in_one_piece(store: LocalStore, into: Path) -> None:
    parts: dict[str, Any] = {"b": 1, "a": [1, Point(1.0)], "c": {"x": 2.0}}
    composed = make_dict({name: encode(value, ANY, store) for name, value in parts.items()}, store)
    assert composed == encode(parts, ANY, store)


def test_a_composed_dict_with_a_key_that_has_no_form_is_refused(store: LocalStore) -> None:
    with pytest.raises(CodecError, match="no JSON form"):
        make_dict({"\ud800": encode(1, ANY, store)}, store)


def test_a_composed_dict_refers_to_what_is_large(store: LocalStore, into: Path, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"model")
    parts = {"text": "x" * 5000, "model": File(tmp_path / "m.bin"), "many": list(range(50))}
    composed = make_dict({name: encode(value, ANY, store) for name, value in parts.items()}, store)
    back = decode(composed, ANY, store, into)
    assert back["text"] == parts["text"]
    assert back["many"] == parts["many"]
    assert back["model"].read_bytes() == b"model"


def test_where_a_file_lies_and_what_it_is_called_is_no_part_of_a_value(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(b"same")
    (tmp_path / "two.txt").write_bytes(b"same")
    one, two = (encode({"m": File(tmp_path / name)}, ANY, store) for name in ("one.bin", "two.txt"))
    assert one["digest"] == two["digest"]
    assert one["inline"] != two["inline"]


def test_objects_may_hold_files_and_arrays(store: LocalStore, into: Path, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"model")
    value = Trained(File(tmp_path / "m.bin"), 0.5, ["a"])
    value.seen = 7
    back = there_and_back({"best": value, "w": np.eye(2)}, ANY, store, into)
    assert back["best"].model.read_bytes() == b"model"
    assert (back["best"].score, back["best"].tags, back["best"].seen) == (0.5, ["a"], 7)
    assert (back["w"] == np.eye(2)).all()


@pytest.mark.parametrize(
    "value",
    [Rate(50.0), Scaled(3, 2), Scaled(3, 2, ["a"]), Doubled(2), Raised(a=1), Raised(a=2, text="x", more=[1]),
     Finished(a=2)],
)  # fmt: skip
def test_an_object_comes_back_as_it_was_whatever_its_class_makes_of_what_it_is_given(
    value: Any, store: LocalStore, into: Path
) -> None:
    doc = type_of(type(value))
    for one in (ANY, doc):
        back = there_and_back(there_and_back(value, one, store, into), one, store, into)
        assert (back, type(back)) == (value, type(value))
        assert encode(back, one, store) == encode(value, one, store)


def test_what_is_no_field_is_made_again_by_the_class(store: LocalStore, into: Path) -> None:
    assert there_and_back(Rate(50.0), ANY, store, into).seen is True
    assert there_and_back(Raised(a=1), ANY, store, into)._private == 7


@pytest.mark.parametrize("fields", [{"a": 1, "percent": 1}, {}])
def test_a_class_with_code_of_its_own_is_given_no_other_fields_than_it_has(fields: Any, into: Path) -> None:
    tagged = {"o": [f"{samples.__name__}:Rate", fields]}
    store: Any = None
    with pytest.raises(CodecError, match=r"does not fit its class any more: (a is no field|percent is missing)"):
        decode({"type": "json", "digest": "0" * 64, "size": 1, "inline": tagged}, ANY, store, into)


def test_a_model_that_ignores_what_is_no_field_ignores_what_is_none_any_more(store: LocalStore, into: Path) -> None:
    tagged = {"o": [f"{samples.__name__}:Finished", {"a": 1, "total": 3, "lost": 2}]}
    back = decode({"type": "json", "digest": "0" * 64, "size": 1, "inline": tagged}, ANY, store, into)
    assert (back.a, back.total) == (1, 3)


def test_a_set_is_frozen_or_not_as_its_reader_wants_it(store: LocalStore, into: Path) -> None:
    for value, other in ((frozenset({1}), set), ({1}, frozenset)):
        ref = encode(value, ANY, store)
        assert type(decode(ref, type_of(other[int]), store, into)) is other


def test_pickle_is_used_only_when_asked(store: LocalStore, into: Path) -> None:
    ref = encode({1, 2}, {"kind": "pickle"}, store)
    assert ref["type"] == "pickle"
    assert decode(ref, {"kind": "pickle"}, store, into) == {1, 2}
    assert isinstance(there_and_back(Opaque(), {"kind": "pickle"}, store, into), Opaque)
    inside = encode((Opaque(), 1), {"kind": "tuple", "items": [{"kind": "pickle"}, INT]}, store)
    assert inside["type"] == "json"
    assert isinstance(decode(inside, ANY, store, into)[0], Opaque)
    with pytest.raises(CodecError, match="cannot be pickled"):
        encode(lambda: None, {"kind": "pickle"}, store)


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append({"again": loop})
    return loop


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ((n for n in []), "", "generator cannot be stored; return a list"),
        ({"a": [1, Opaque()]}, "['a'][1]", "Opaque cannot be stored"),
        ([Point(0.0, Opaque())], "[0].y", "ask for pickle"),  # type: ignore[arg-type]
        (len, "", "return what it computes"),
        (Path("model.bin"), "", "File('model.bin')"),
        (1j, "", "a complex cannot be stored; return a tuple of its real and imag"),
        ({"wait": dt.timedelta(1)}, "['wait']", "return its total_seconds()"),
        (dt.time(1), "", "return its isoformat()"),
        (Decimal("1.5"), "", "return str(…) of it"),
        (UUID(int=1), "", "return str(…) of it"),
        (NAIVE.replace(tzinfo=NAMELESS), "", "a zone without a name"),
        (Point, "", "return what it computes"),
        (Access.READ | Access.WRITE, "", "combination of flags"),
        ("\ud800", "", "no JSON form"),
        ({"a": {"\ud800": 1}}, "['a']", "no JSON form"),
        ([{10**5000: 1}], "[0]", "no JSON form"),
        ({10**5000: Opaque()}, "[…]", "cannot be stored"),
        ({"\ud800"}, "", "no JSON form"),
        (({10**5000},), "[0]", "no JSON form"),
        (looped(), "", "holds itself"),
        ([1, np.datetime64("2020-01-01", "ns")], "[1]", "numpy datetime64 cannot be stored"),
        (np.complex128(1j), "", "numpy complex128 cannot be stored"),
        ({"f": File("missing.bin")}, "['f']", "is not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_named_with_the_path_to_it(
    value: Any, where: str, message: str, store: LocalStore
) -> None:
    with pytest.raises(CodecError) as caught:
        encode(value, ANY, store)
    assert caught.value.where == where
    assert message in str(caught.value)


def test_a_class_inside_a_function_is_refused(store: LocalStore) -> None:
    from dataclasses import make_dataclass

    local = make_dataclass("Local", ["x"])
    local.__qualname__ = "f.<locals>.Local"
    with pytest.raises(CodecError, match="top of a module"):
        encode({"k": local(1)}, ANY, store)


def test_the_type_document_names_a_class_that_was_defined_in_a_script(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Point, "__module__", "__main__")
    doc = {"kind": "dataclass", "name": "train:Point", "fields": []}
    assert encode(Point(1.0), doc, store)["inline"]["o"][0] == "train:Point"


@pytest.mark.parametrize(
    ("tagged", "message"),
    [
        ({"o": ["subprocess:Popen", {"args": ["true"]}]}, "no longer a dataclass"),
        ({"e": ["subprocess:Popen", "x"]}, "no longer an enum"),
        ({"o": ["no_such_module:X", {}]}, "cannot be imported"),
        ({"e": [f"{samples.__name__}:Colour", "GREEN"]}, "no member GREEN"),
        ({"o": [f"{samples.__name__}:Point", {"z": 1}]}, "does not fit its class"),
        ({"zz": 1}, "not a tag"),
        ({"f": "1", "b": ""}, "not the tagged form"),
        ({"f": "zero"}, "cannot be read"),
        ({"zdt": "2024-01-01T00:00:00+01:00[Europe/Nowhere]"}, "Europe/Nowhere is not known here"),
        ({"zdt": "2024-01-01T00:00:00+01:00[../../etc/passwd]"}, "not known here"),
        ({"zdt": "2024-01-01T00:00:00+01:00[America]"}, "not known here"),
        ({"zdt": "noon"}, "no moment in a zone"),
        ({"d": [[1]]}, "cannot be read"),
        ({"ref": {"type": "wat"}}, "not a type of reference"),
    ],
)
def test_a_reference_that_no_codec_made_is_an_error_and_runs_nothing(
    tagged: Any, message: str, store: LocalStore, into: Path
) -> None:
    with pytest.raises(CodecError, match=message):
        decode({"type": "json", "digest": "0" * 64, "size": 1, "inline": tagged}, ANY, store, into)


def test_small_json_values_never_touch_the_store() -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the store was asked for {name}")

    store: Any = Untouchable()
    for value in (1, "x", {"a": [1.5]}, [1, 2], Point(1.0)):
        ref = encode(value, ANY, store)
        assert decode(ref, ANY, store, Path("nowhere")) == value


def test_the_codecs_import_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import celesta.codecs, celesta.files, celesta.hashing, celesta.store\n"
        "from pathlib import Path; celesta.codecs.encode({'a': [1.5, (2,)]}, None, None)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "assert new == {'celesta'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
