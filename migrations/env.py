"""Alembic's entry: runs the revisions over the database of the `Config` that `app.db.alembic_config` passed on."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

import app.models  # noqa: F401  (fills the metadata)
from app.config import Config
from app.db import Base, UtcDateTime, engine_options

config: Config = context.config.attributes.get("celesta") or Config.from_env()


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Revisions name the plain type, so that they still run when our own types have moved."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def let_go_of_foreign_keys(connection: Any, _record: Any) -> None:
    """SQLite changes a table by making it anew and dropping the old one, which would delete every row that refers to
    it. A connection can let go of its foreign keys outside of a transaction only."""
    connection.execute("PRAGMA foreign_keys=OFF")


def run() -> None:
    options = engine_options(config.sqlalchemy_url)
    engine = create_engine(config.sqlalchemy_url, poolclass=NullPool, connect_args=options.get("connect_args", {}))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", let_go_of_foreign_keys)
    with engine.connect() as connection:
        connection = connection.execution_options(celesta_write=True)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            render_item=render_item,
        )
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                # Two processes may upgrade at the same time; the second waits and then finds nothing to do.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7215640)")
            context.run_migrations()


run()
