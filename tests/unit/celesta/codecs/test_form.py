"""JSON that is no tagged form is told apart from that of every value, before anything reads it."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode, shown, to_plain, verify
from celesta.codecs.differ import OF_TYPE
from celesta.codecs.form import _PARTS, formless
from celesta.codecs.tagged import _READERS
from celesta.codecs.tags import KIND_OF_TAG, REFERENCES
from celesta.codecs.values import _CODECS
from celesta.errors import CodecError
from celesta.files import File
from celesta.hashing import canonical, digest_of
from celesta.spec.shapes import ref_problems
from celesta.store.local import LocalStore
from tests.fixtures.growth import growth
from tests.unit.celesta.codecs.samples import Colour, Linked, Point

ANY = {"kind": "any"}
NO_FORMS: list[Any] = [
    {}, {"f": "zz"}, {"f": 1}, {"f": None}, {"f": "0x1p99999"}, {"b": "%"}, {"b": ["eA=="]}, {"d": 5}, {"d": [1]},
    {"d": [[1]]}, {"d": {"a": 1}}, {"t": "ab"}, {"s": 5}, {"fs": {"a": 1}}, {"dt": "no"}, {"date": 3}, {"zdt": "noon"},
    {"e": "m:C"}, {"e": ["m:C", 1]}, {"o": ["m:C"]},
    {"o": ["m:C", []]}, {"o": [1, {}]}, {"new": ["m:C"]}, {"a": 1}, {"f": "1", "b": ""}, 1.5,
]  # fmt: skip


def inline(tagged: Any) -> dict[str, Any]:
    data = canonical(tagged)
    return {"type": "json", "digest": digest_of(data), "size": len(data), "inline": tagged}


@pytest.mark.parametrize("tagged", NO_FORMS)
def test_what_is_no_tagged_form_is_refused_wherever_a_value_comes_in(tagged: Any, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for ref in (inline(tagged), inline({"d": [["x", {"t": [tagged]}]]}), inline({"o": ["m:C", {"ref": tagged}]})):
        assert [problem.where for problem in verify(ref, store, "x")] == ["x"]
        assert [*ref_problems(ref, ANY, "x")]


def test_every_tag_that_is_read_has_a_form(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    values = [
        1.5, b"x", (1,), {"a": {}}, {1}, frozenset({1}), dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.date(2024, 1, 2),
        Colour.RED, Point(1.0),
    ]  # fmt: skip
    for value in [*values, {"o": values[:4]}, Linked("ref"), {"f": File(tmp_path / "f"), "l": Linked("x")}]:
        ref = json.loads(json.dumps(encode(value, ANY, LocalStore(tmp_path / "s"))))
        assert formless(ref["inline"]) is None, value
        assert verify(ref, LocalStore(tmp_path / "s")) == []
        assert [*ref_problems(ref, ANY, "")] == []


def test_every_tag_is_known_wherever_tags_are_told_apart() -> None:
    assert KIND_OF_TAG.keys() == _READERS.keys() == _PARTS.keys()
    assert {*REFERENCES} == {*OF_TYPE} == {"json", "list", *_CODECS}


@pytest.mark.parametrize("tagged", [{}, {"f": "zz"}, {"f": "0x1p99999"}, {"d": 5}, {"o": ["m:C", []]}])
def test_a_document_of_many_values_describes_one_that_is_damaged(tagged: Any) -> None:
    ref = inline(tagged)
    with pytest.raises(CodecError, match="damaged"):
        to_plain(ref)
    assert shown(ref) == {name: ref[name] for name in ("type", "digest", "size")}


def test_a_document_of_many_values_describes_one_that_is_not_in_the_store_any_more(tmp_path: Path) -> None:
    ref = encode("x" * 5000, ANY, LocalStore(tmp_path / "before"))
    assert shown(ref, LocalStore(tmp_path / "after")) == {name: ref[name] for name in ("type", "digest", "size")}


def test_looking_at_a_form_grows_with_the_value_and_no_faster() -> None:
    def prepare(size: int) -> Callable[[], object]:
        tagged = {"d": [[str(i), {"t": [i, {"f": "1"}]}] for i in range(size)]}
        return lambda: formless(tagged)

    assert growth(prepare, 1_000, 20_000) < 3
