"""What a run comes to by the rules that a server and a local run share."""

from pathlib import Path
from typing import Any

import pytest

from celesta import dynamic, task, when, workflow
from celesta.codecs import encode, to_plain
from celesta.errors import Skipped
from celesta.local import run_local
from celesta.rules import outputs_of
from celesta.spec import workflow_spec
from celesta.store import open_store
from celesta.types import type_of

OUT, MADE = {"step": "skipped"}, {"step": "made"}


def _value(binding: Any) -> dict[str, Any]:
    if binding == MADE:
        return encode(2, {"kind": "int"}, None)
    raise Skipped("it was skipped")


@pytest.mark.parametrize(
    ("hint", "binding", "made"),
    [
        (int, MADE, 2),
        (int, OUT, None),
        (list[int], {"list": [OUT, MADE]}, None),
        (list[int | None], {"list": [OUT, MADE]}, [None, 2]),
        (dict[str, int | None], {"dict": {"a": OUT, "b": MADE}}, {"a": None, "b": 2}),
        (dict[str, int], {"dict": {"a": OUT, "b": MADE}}, None),
        (list[int | None] | None, {"list": [MADE, OUT]}, [2, None]),
        (list[list[int] | None], {"list": [{"list": [OUT, MADE]}, {"list": [MADE]}]}, [None, [2]]),
        (list[list[int]], {"list": [{"list": [OUT, MADE]}, {"list": [MADE]}]}, None),
        (Any, {"list": [OUT, {"dict": {"a": OUT}}]}, [None, {"a": None}]),
    ],
)
def test_an_output_has_none_where_its_hint_lets_it_for_what_was_skipped(
    hint: Any, binding: Any, made: Any, tmp_path: Path
) -> None:
    store = open_store(f"file://{tmp_path}")
    interface = {"outputs": [{"name": "result", "type": type_of(hint)}]}
    assert to_plain(outputs_of(interface, {"result": binding}, _value, store)["result"], store) == made


@task
def one(x: int) -> int:
    return x


@dynamic
def grow(x: int) -> list[int | None]:
    return [when(one(x=x) > 5, then=lambda: one(x=1)), one(x=2)]


@workflow
def joined(x: int = 1) -> dict[str, list[int | None]]:
    return {"here": [when(one(x=x) > 5, then=lambda: one(x=1)), one(x=2)], "below": grow(x=x)}


def test_a_local_run_keeps_what_was_made_beside_what_was_skipped(tmp_path: Path) -> None:
    run = run_local(workflow_spec(joined, file=__file__)[0], {}, tmp_path)
    assert run.document()["outputs"] == {"result": {"here": [None, 2], "below": [None, 2]}}
