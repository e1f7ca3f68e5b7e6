"""What is read from SQLite is read from PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db import db
from app.services import cache_evict
from tests.fixtures.playground import Playground, playground_config, serving
from tests.integration.app.api.test_cache import Cached
from tests.unit.app.specs import diamond

VARYING = {
    "run_id",
    "run",
    "created_at",
    "started_at",
    "finished_at",
    "recorded_at",
    "duration_seconds",
    "url",
    "at_ms",
}
VARYING |= {"at_ms", "seconds_saved", "id", "artifact", "next_fire_at"}


@pytest.fixture
def both(playground: Playground, home: Path, redis_url: str, postgres_url: str) -> Iterator[list[Playground]]:
    with serving(playground_config(home, redis_url, postgres_url)) as other:
        yield [playground, other]


def play(flow: Playground) -> str:
    """Two runs of a diamond: one fails, one is answered from the cache and goes on."""
    flow.register(diamond())
    first, second = (flow.launch(inputs={"n": number}) for number in (1, 2))
    flow.start(first)
    more: dict[str, Any] = {"cache_key": "k", "input_digests": {"x": flow.encode(1)["digest"]}}
    metrics = [{"name": "m", "value": 0.5, "step": None, "at_ms": 1}]
    flow.settle(first, "3", "a", outputs={"result": 5}, metrics=metrics, log="x\n", **more)
    flow.settle(first, "1", "b", "failed", error={"type": "E", "message": "m", "kind": "user"})
    flow.finish(first, "failed", {"path": "b", "type": "E", "message": "m", "kind": "user"}, succeeded=1, failed=1)
    flow.start(second)
    source = {"run": first, "node": "3", "path": "a", "token": "1.1"}
    flow.settle(second, "3", "a", "cached", source=source, outputs={"result": 5}, cache_key="k")
    flow.tell(second, "map.opened", node="0", path="d", width=2, known=6)
    flow.settle(second, "0.1", "d[1]")
    schedule = {"name": "s", "workflow": "flow", "cron": "0 3 * * *", "inputs": {"n": 1}}
    assert flow.call("POST", "schedules", schedule).status == 201
    return second


def settled(document: Any) -> Any:
    """Without what differs between two runs of the same."""
    if isinstance(document, dict):
        return {name: settled(value) for name, value in document.items() if name not in VARYING}
    return [settled(item) for item in document] if isinstance(document, list) else document


def test_every_listing_and_document_is_the_same_on_both(both: list[Playground]) -> None:
    runs = [play(flow) for flow in both]
    for path in (
        "runs",
        "runs?limit=1",
        "runs?workflow=flow&status=failed",
        "runs/RUN",
        "runs/RUN/steps",
        "runs/RUN/steps?limit=2&state=waiting",
        "runs/RUN/steps/a",
        "workflows",
        "workflows/flow",
        "workflows/flow/versions",
        "artifacts",
        "cache/stats",
        "schedules",
        "members",
        "tokens",
        "/api/v1/projects",
    ):
        documents = []
        for flow, run in zip(both, runs, strict=True):
            found = flow.get(path.replace("RUN", run))
            if found.pop("next_cursor", None):
                cursor = flow.get(path.replace("RUN", run))["next_cursor"]
                found["more"] = flow.get(f"{path.replace('RUN', run)}&cursor={cursor}")["items"]
            documents.append(settled(found))
        assert documents[0] == documents[1], path
        assert documents[0], path


def test_every_page_is_served_from_postgresql(both: list[Playground]) -> None:
    flow, run = both[1], play(both[1])
    artifact = flow.get("artifacts")["items"][0]["id"]
    for path in ("runs", f"runs/{run}", f"runs/{run}/steps/a", "workflows", "workflows/flow", f"artifacts/{artifact}"):
        assert flow.call("GET", f"/projects/default/{path}").status == 200, path
    with flow.events(f"runs/{run}/events") as frames:
        assert next(frames)["kind"] == "run.started"
    assert flow.call("GET", "/metrics").status == 200


def test_the_cache_is_explained_and_kept_within_its_limit_on_both(both: list[Playground]) -> None:
    for flow in both:
        cached = Cached(flow)
        cached.register()
        first, second = cached.run(3, size=3_000), cached.run(4, size=3_000)
        assert cached.explain(second)["nearest"]["run"] == first
        assert flow.call("PUT", "cache/limit", {"bytes": 4_000}).status == 200
        with flow.app.app_context():
            assert cache_evict.enforce_limits(db.session, flow.redis) == 1
        assert flow.call("POST", "cache/evict", {"task": "a", "older_than_seconds": 0}).json["entries"] == 1
        assert cached.kept() == []
