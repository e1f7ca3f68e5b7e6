"""The cache of local runs: options for single steps, and values that are gone."""

import sys
from pathlib import Path

import pytest

from celesta.errors import InputError
from tests.unit.celesta.local.flow import MODULE, Flow, build, counts, out


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    flow = Flow(tmp_path)
    monkeypatch.setitem(sys.modules, MODULE, flow.module)
    return flow


def test_the_cache_options_may_name_single_steps(flow: Flow) -> None:
    build(flow, [1, 2])
    first = flow.run()
    refreshed = flow.run(refresh=["double"])
    assert flow.ran == ["double[0]", "double[1]"]
    assert counts(refreshed) == (4, 2, 2, 0, 0)
    off = flow.run(no_cache=["total"])
    assert flow.ran == ["total"]
    sources = {event["source"]["run"] for event in flow.events if event.get("state") == "cached"}
    assert sources == {first.run_id, refreshed.run_id}
    assert off.outputs == first.outputs
    with pytest.raises(InputError, match='no step "doubel"; did you mean "double"'):
        flow.run(refresh=["doubel"])


def test_a_hit_whose_bytes_are_gone_is_computed_again(flow: Flow) -> None:
    def large() -> str:
        return "x" * 5_000

    flow.step(flow.task(large))
    flow.outputs = {"result": out("large")}
    blob = flow.run().outputs["result"]["blob"]
    flow.store.delete(f"blobs/sha256/{blob[:2]}/{blob}")
    assert counts(flow.run()) == (1, 1, 0, 0, 0)
    assert counts(flow.run()) == (1, 0, 1, 0, 0)
