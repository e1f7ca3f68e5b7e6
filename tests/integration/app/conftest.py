"""A configuration over an upgraded database, once on SQLite and once on PostgreSQL, and what it is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.config import Config
from app.db import db, standalone, upgrade


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
