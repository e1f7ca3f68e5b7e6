from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engine.harness import World


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    """An engine whose tasks add, fail, list and garble."""

    def fail(**given: int) -> int:
        raise ValueError(f"no luck with {sorted(given.values())}")

    def garble() -> int:
        raise ValueError("half a \ud800 pair")

    functions = {
        "garble": garble,
        "one": lambda: 1,
        "add": lambda **given: sum(given.values()),
        "total": lambda items: sum(items),
        "double": lambda x: 2 * x,
        "count": lambda n: list(range(n)),
        "odd": lambda x: x if x % 2 else fail(x=x),
        "fail": fail,
    }
    made = World(redis_url, tmp_path / "store", functions)
    yield made
    made.client.close()
