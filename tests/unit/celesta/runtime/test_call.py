"""One call: references in, references out, and every failure as a result document."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from celesta.codecs import encode, to_plain
from celesta.errors import StoreError
from celesta.frames import shown_path
from celesta.runtime.call import call_step
from celesta.runtime.context import StepContext
from celesta.store import open_store

INT = {"kind": "int"}
DICT = {"kind": "dict", "keys": {"kind": "str"}, "values": INT}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return open_store(f"file://{tmp_path}/store")


def call(
    store: Any,
    function: Callable[..., Any],
    outputs: dict[str, Any],
    defaults: dict[str, Any] | None = None,
    **inputs: Any,
) -> dict[str, Any]:
    refs = {name: encode(value, {"kind": "any"}, store) for name, value in {**(defaults or {}), **inputs}.items()}
    ports = [
        {"name": name, "type": {"kind": "any"}, "required": name in inputs}
        | ({} if name in inputs else {"default": refs[name]})
        for name in refs
    ]
    document = {
        "run": "r",
        "path": "f",
        "node": "0",
        "token": "1.1",
        "inputs": {name: refs[name] for name in inputs},
        "interface": {"inputs": ports, "outputs": [{"name": n, "type": t} for n, t in outputs.items()]},
    }
    return call_step(document, store, function=lambda: function, context=StepContext("r", "f", 1), into="/nowhere")


def plain(result: dict[str, Any], store: Any) -> dict[str, Any]:
    assert result["status"] == "succeeded", result["error"]
    return {name: to_plain(ref, store) for name, ref in result["outputs"].items()}


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Only:
    result: int


def test_inputs_are_loaded_and_the_value_is_stored(store: Any) -> None:
    result = call(store, lambda a, b: a + b, {"result": INT}, a=1, b=2)
    assert plain(result, store) == {"result": 3}
    assert set(result["input_digests"]) == {"a", "b"}


def test_a_default_of_the_interface_stands_in_and_counts_as_an_input(store: Any) -> None:
    result = call(store, lambda a, b: a + b, {"result": INT}, defaults={"b": 5}, a=1)
    assert plain(result, store) == {"result": 6}
    assert set(result["input_digests"]) == {"a", "b"}


def test_fields_are_outputs(store: Any) -> None:
    assert plain(call(store, lambda: Pair(1, 2), {"left": INT, "right": INT}), store) == {"left": 1, "right": 2}
    assert plain(call(store, lambda: Only(4), {"result": INT}), store) == {"result": 4}


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


def test_a_coroutine_is_run_also_inside_a_running_loop(store: Any) -> None:
    assert plain(call(store, double, {"result": INT}, n=2), store) == {"result": 4}

    async def notebook() -> dict[str, Any]:
        return call(store, double, {"result": INT}, n=3)

    assert plain(asyncio.run(notebook()), store) == {"result": 6}


@pytest.mark.parametrize(
    ("value", "outputs", "words"),
    [
        ("x", {"result": INT}, 'output "result"'),
        ({"a": "x"}, {"result": DICT}, 'output "result"'),
        (lambda: 1, {"result": {"kind": "any"}}, 'output "result" cannot be stored'),
        ((1, 2), {"left": INT, "right": INT}, "returned a tuple, but it declares the outputs left, right"),
        (1, {}, "returned a int, but it declares no output"),
    ],
)
def test_a_wrong_value_is_a_user_error_that_names_the_output(
    store: Any, value: Any, outputs: dict[str, Any], words: str
) -> None:
    result = call(store, lambda: value, outputs)
    assert (result["status"], result["outputs"]) == ("failed", {})
    assert result["error"]["kind"] == "user"
    assert words in result["error"]["message"]
    assert result["error"]["message"].startswith(f"{shown_path(__file__)}:"), "it tells where the function is"


def test_a_store_that_does_not_answer_is_a_system_error_only_in_our_hands(store: Any) -> None:
    def fail() -> None:
        raise StoreError("the user's own")

    assert call(store, fail, {})["error"]["kind"] == "user"

    class Broken:
        def put_blob(self, data: bytes) -> str:
            raise StoreError("gone")

    result = call(Broken(), lambda: "x" * 5000, {"result": {"kind": "str"}})
    assert result["error"]["kind"] == "system"


def test_an_interrupt_is_not_swallowed(store: Any) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(store, interrupt, {})


def test_each_phase_is_timed(store: Any) -> None:
    timings = call(store, lambda: 1, {"result": INT})["timings"]
    assert timings["finished_ms"] >= timings["started_ms"]
    assert all(timings[name] >= 0 for name in ("load_seconds", "body_seconds", "store_seconds"))
