import math
import os
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celesta.codecs import encode
from celesta.errors import CodecError
from celesta.files import File
from celesta.hashing import (
    cache_components,
    cache_key,
    document_digest,
    interface_digest,
    list_digest,
)
from celesta.store.base import Store

TASK: dict[str, Any] = {
    "name": "train",
    "code_digest": "c" * 64,
    "interface": {
        "inputs": [{"name": "lr", "type": {"kind": "float"}, "required": True}],
        "outputs": [{"name": "result", "type": {"kind": "any"}}],
    },
    "cache": {"version": None, "ignore": [], "environment": False, "ttl_seconds": None, "scope": "project"},
}


class Nowhere(Store):
    """Takes blobs and keeps none."""

    url = "nowhere:"

    def size(self, key: str) -> None:
        return None

    def put(self, key: str, data: bytes) -> None:
        pass

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        data = Path(path).read_bytes()
        return self.put_blob(data), len(data)


def ref(value: Any) -> dict[str, Any]:
    return encode(value, None, Nowhere())


def digest(value: Any) -> str:
    return str(ref(value)["digest"])


# Golden digests: what is in every database already. A change here needs a new version of the key, not a new number.


def test_golden_value_digests() -> None:
    values = (None, True, 1, 1.0, "1", b"1", [1], (1,), {"a": [1.5]}, {1})
    assert {repr(value): digest(value)[:16] for value in values} == {
        "None": "74234e98afe7498f",
        "True": "b5bea41b6c623f7c",
        "1": "6b86b273ff34fce1",
        "1.0": "abd15bd958d9b708",
        "'1'": "391552c099c101b1",
        "b'1'": "66919d1ce5b3fc95",
        "[1]": "1399f38b32141296",
        "(1,)": "6daf06755e2f7a0f",
        "{'a': [1.5]}": "c1f57d10b6d3b89e",
        "{1}": "dc4192c35cd9df66",
    }


def test_golden_array_digest() -> None:
    assert digest(np.arange(6, dtype="<i4").reshape(2, 3))[:16] == "5aea2ff149ae31ef"


def test_golden_cache_key() -> None:
    assert (
        cache_key(cache_components(TASK, {"lr": ref(0.1)}))
        == "8828191c936bfae7ee3596bb7dea8464f2b53ee9f229d8baf846c0beb0dd424b"
    )


def test_golden_interface_and_list_digest() -> None:
    assert interface_digest(TASK["interface"])[:16] == "0be7b32a6643e20f"
    refs = [{"type": "json", "digest": "a" * 64}, {"type": "file", "digest": "b" * 64}]
    assert list_digest(refs)[:16] == "e2c8d8ccc881c0f5"


# Values

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(string.printable)
    | st.binary()
    | st.datetimes()
    | st.dates()
)
hashables = st.recursive(scalars, lambda inner: st.tuples(inner) | st.tuples(inner, inner), max_leaves=3)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.frozensets(hashables, max_size=3)
    ),
    max_leaves=8,
)


def identity(value: Any) -> Any:
    """What makes two values the same to a user: type and content, all the way down."""
    kind = type(value)
    if kind is float:
        return kind, value, math.copysign(1, value)
    if kind in (list, tuple):
        return kind, tuple(identity(item) for item in value)
    if kind in (set, frozenset):
        return kind, frozenset(identity(item) for item in value)
    if kind is dict:
        return kind, frozenset((identity(key), identity(item)) for key, item in value.items())
    return kind, value


@given(values, values)
def test_two_values_have_one_digest_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (identity(one) == identity(other))


@given(st.dictionaries(hashables, values, max_size=5), st.randoms())
def test_the_order_of_a_dict_never_matters(value: dict[Any, Any], random: Any) -> None:
    pairs = list(value.items())
    random.shuffle(pairs)
    assert digest(dict(pairs)) == digest(value)


def test_look_alikes_never_collide() -> None:
    alike = [
        None, "None", "null", False, True, 0, 1, 0.0, -0.0, 1.0, "0", "1", "1.0", "0x1.0000000000000p+0", b"1", b"",
        "", [], (), {}, set(), frozenset(), [None], [1], (1,), {1}, frozenset({1}),
        {1: 1}, {"1": 1}, {True: 1}, {1.0: 1}, [[1]], [(1,)], ([1],),
        [1, 1], [11], {"f": "0x1.0000000000000p+0"}, {"t": [1]}, {"d": []}, {"ref": 1},
        math.nan, math.inf, -math.inf, "nan",
    ]  # fmt: skip
    assert len({digest(value) for value in alike}) == len(alike)


def test_dtype_and_shape_of_arrays_never_collide() -> None:
    arrays = [
        np.zeros(4, "i4"), np.zeros(2, "i8"), np.zeros(4, "f4"), np.zeros((2, 2), "i4"), np.zeros((4, 1), "i4"),
        np.zeros((1, 4), "i4"), np.zeros(16, "i1"), np.zeros(16, "u1"), np.zeros(16, "?"), np.zeros(4, ">i4"),
        np.zeros(0, "i4"), np.zeros(0, "i8"), np.zeros((0, 2), "i4"), np.zeros((), "i4"), np.zeros(2, "M8[ns]"),
        np.zeros(2, "M8[s]"), np.zeros(4, [("a", "i4")]), np.zeros(4, [("b", "i4")]),
    ]  # fmt: skip
    assert len({digest(array) for array in arrays}) == len(arrays)


kinds = st.sampled_from(["i1", "u1", "<i2", ">i2", "<i4", "<i8", "<f4", "<f8", "?", "M8[s]", "M8[ns]", "S2", "U1"])
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(kinds, shapes, kinds, shapes, st.binary(min_size=216, max_size=216))
def test_two_arrays_have_one_digest_exactly_when_dtype_shape_and_content_are_the_same(
    kind: str, shape: tuple[int, ...], other_kind: str, other_shape: tuple[int, ...], data: bytes
) -> None:
    def array(of: str, form: tuple[int, ...]) -> np.ndarray:
        size = math.prod(form)
        numbers = np.frombuffer(data, "u1")[:size] % 2  # the same content in every dtype, so that only that differs
        return numbers.astype(of).reshape(form)

    same = (np.dtype(kind).str, shape) == (np.dtype(other_kind).str, other_shape)
    assert (digest(array(kind, shape)) == digest(array(other_kind, other_shape))) == same


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=3), st.data())
def test_two_calls_have_one_key_exactly_when_their_inputs_are_the_same(given_inputs: dict[str, Any], data: Any) -> None:
    other = data.draw(st.just(given_inputs) | st.dictionaries(st.sampled_from("abc"), values, max_size=3))
    keys = [
        cache_key(cache_components(TASK, {name: ref(value) for name, value in inputs}))
        for inputs in (given_inputs.items(), reversed(other.items()))
    ]
    assert (keys[0] == keys[1]) == (identity(given_inputs) == identity(other))


def test_the_order_of_an_array_in_memory_is_no_part_of_its_value() -> None:
    array = np.arange(12).reshape(3, 4)
    assert digest(array) == digest(np.asfortranarray(array)) == digest(np.repeat(array, 2, axis=0)[::2])


# Keys


def test_each_component_changes_the_key() -> None:
    base = cache_components(TASK, {"lr": ref(1)})
    other_type = {"inputs": [{"name": "lr", "type": {"kind": "int"}}], "outputs": []}
    variants = [
        cache_components(TASK | {"name": "fit"}, {"lr": ref(1)}),
        cache_components(TASK | {"code_digest": "d" * 64}, {"lr": ref(1)}),
        cache_components(TASK | {"interface": other_type}, {"lr": ref(1)}),
        cache_components(TASK, {"lr": ref(2)}),
        cache_components(TASK, {"rate": ref(1)}),
        cache_components(TASK, {"lr": ref(1)}, options={"cache": {"version": "c" * 64}}),
        cache_components(TASK, {"lr": ref(1)}, environment="e", options={"cache": {"environment": True}}),
        cache_components(TASK | {"env": {"MODE": "fast"}}, {"lr": ref(1)}),
        cache_components(TASK, {"lr": ref(1)}, options={"env": {"MODE": "slow"}}),
    ]
    assert len({cache_key(key) for key in [base, *variants]}) == 10


def test_a_file_is_never_the_value_that_its_bytes_spell(tmp_path: Path) -> None:
    for name, text, value in [("n", "1", 1), ("s", '"a"', "a"), ("l", f"list\njson {digest(1)}", [1])]:
        (tmp_path / name).write_text(text)
        file = ref(File(tmp_path / name))
        assert file["digest"] == digest(value), "the digests are alike, and only the types tell them apart"
        assert cache_key(cache_components(TASK, {"lr": file})) != cache_key(cache_components(TASK, {"lr": ref(value)}))
        assert ref([File(tmp_path / name)])["digest"] != ref([value])["digest"]
        assert ref({"a": File(tmp_path / name)})["digest"] != ref({"a": value})["digest"]


def test_a_version_label_stands_for_the_code() -> None:
    labelled = TASK | {"cache": TASK["cache"] | {"version": "v2"}}
    edited = labelled | {"code_digest": "d" * 64}
    assert cache_components(labelled, {}) == cache_components(edited, {})
    assert cache_components(labelled, {})["code"] == {"version": "v2"}


def test_ignored_inputs_and_the_order_of_inputs_do_not_matter() -> None:
    ignoring = {"ignore": ["verbose"]}
    one = cache_components(TASK, {"lr": ref(1), "n": ref(2), "verbose": ref(3)}, options={"cache": ignoring})
    other = cache_components(TASK, {"n": ref(2), "verbose": ref(9), "lr": ref(1)}, options={"cache": ignoring})
    assert cache_key(one) == cache_key(other)


def test_the_environment_counts_only_when_asked_for() -> None:
    assert cache_components(TASK, {}, environment="one") == cache_components(TASK, {}, environment="other")
    with pytest.raises(CodecError, match="cannot tell its environment"):
        cache_components(TASK, {}, options={"cache": {"environment": True}})


def test_docs_and_defaults_are_no_part_of_an_interface() -> None:
    port = TASK["interface"]["inputs"][0]
    documented = TASK["interface"] | {
        "inputs": [port | {"doc": "how fast", "default": {"digest": "x"}, "required": False}]
    }
    assert interface_digest(documented) == interface_digest(TASK["interface"])
    nested = [{"name": "p", "type": {"kind": "dataclass", "name": "m:P", "fields": [{"name": "x", "default": 0.5}]}}]
    bare = [{"name": "p", "type": {"kind": "dataclass", "name": "m:P", "fields": [{"name": "x"}]}}]
    assert interface_digest({"inputs": nested, "outputs": []}) == interface_digest({"inputs": bare, "outputs": []})


@pytest.mark.parametrize(
    ("document", "where"),
    [({"a": [1, 0.5]}, "a[1]"), ({"a": {1: 2}}, "a"), ({"a": {"b": Path()}}, "a.b"), ([{1, 2}], "[0]")],
)
def test_a_document_without_a_canonical_form_is_refused_with_the_path(document: Any, where: str) -> None:
    with pytest.raises(CodecError) as caught:
        document_digest(document)
    assert caught.value.where == where


def test_a_document_has_one_digest_whatever_the_order_of_its_keys() -> None:
    assert document_digest({"a": 1, "b": [True, None]}) == document_digest({"b": [True, None], "a": 1})
    assert document_digest({"a": 1}) != document_digest({"a": True})
