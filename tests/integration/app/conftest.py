"""A configuration over an upgraded database, once on SQLite and once on PostgreSQL, and what it is asked; and a
playground with a workflow, and with a run of it that failed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.config import Config
from app.db import db, standalone, upgrade
from tests.fixtures.playground import Playground
from tests.unit.app.specs import diamond


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, home: Path) -> Config:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{home}/celesta.db" if sqlite else request.getfixturevalue("postgres_url")
    config = Config(
        home=home,
        database_url=url,
        redis_url="unix:///nowhere",
        broker_url="memory://",
        store_url=f"file://{home}/store",
    )
    upgrade(config)
    return config


@pytest.fixture
def context(config: Config) -> Iterator[Config]:
    """The database of `config` is open; its connections are closed at the end."""
    with standalone(config):
        yield config
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What was asked of the database."""
    seen: list[str] = []

    def note(*args: Any) -> None:
        seen.append(args[2])

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def flow(playground: Playground) -> Playground:
    playground.register(diamond())
    return playground


@pytest.fixture
def failed(flow: Playground) -> str:
    """a and b succeeded, c failed, and so d did not run."""
    error = {"type": "ValueError", "message": "no luck", "kind": "user", "traceback": ""}
    n, five = flow.encode(3)["digest"], flow.encode(5)["digest"]
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": 5}, input_digests={"x": n})
    flow.settle(run, "1", "b", outputs={"result": 5}, input_digests={"x": five})
    flow.settle(run, "2", "c", "failed", error=error, input_digests={"x": five})
    flow.settle(run, "0", "d", "upstream_failed")
    flow.finish(run, "failed", {"path": "c", **error}, succeeded=2, failed=1, skipped=1)
    return run
