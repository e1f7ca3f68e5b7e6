"""What those who watch a running attempt get to see, in a real Redis."""

import json

import pytest

from tests.integration.engine.harness import World
from workers.engine import keys, livelog


def test_live_metrics_of_an_attempt_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelog, "KEPT_METRICS", 3)
    for number in range(5):
        livelog.LiveLog(world.client).measure("r", "0", "1.1", [{"name": "loss", "value": number}])
    kept = world.client.lrange(keys.live_metrics("r", "0", "1.1"), 0, -1)
    assert [json.loads(text)["value"] for text in kept] == [2, 3, 4]
