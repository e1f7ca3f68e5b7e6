"""The database: connection recipe for SQLite and PostgreSQL, sessions, write transactions, and upgrades.

`app.create_app`, the recorder, beat and the engine open it; services write inside `writing(session)`. Owns the
settings without which SQLite loses updates between processes. Refuses a flush outside `writing`, since a transaction
that began as a reader cannot become a writer while others write.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Dialect, Engine, MetaData, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

from app.config import Config
from celesta.errors import ConflictError

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
WRITE = "celesta_write"
"""Execution option and session mark of a write transaction."""


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can find it on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC on both databases; SQLite has no zones, so there the zone is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; use an aware datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})


@contextmanager
def writing(session: Any, taken: str = "") -> Iterator[Any]:
    """One short write transaction: committed at the end, rolled back on an error.

    Ends the session's read transaction first. On SQLite it takes the writer's place at once and waits for it, so that
    what is read inside is still true when it is written. On PostgreSQL somebody else may write the same name in
    between; with `taken`, what a constraint refuses then is told in these words, as `ConflictError`.
    """
    session = getattr(session, "registry", lambda: session)()
    if session.info.get(WRITE):
        raise RuntimeError("a write transaction is open already; do not nest writing()")
    session.commit()
    session.expire_all()  # objects that were read before may be stale; they are read again inside
    session.info[WRITE] = True
    try:
        session.connection(execution_options={WRITE: True})
        yield session
        session.commit()
    except BaseException as error:
        session.rollback()
        if taken and isinstance(error, IntegrityError):
            raise ConflictError(taken) from error
        raise
    finally:
        session.info.pop(WRITE, None)


@contextmanager
def standalone(config: Config) -> Iterator[Flask]:
    """A light application context with the database only, for processes that serve no pages; cheap to enter again."""
    app = _standalone_app(config, os.getpid())
    with app.app_context():
        yield app


def upgrade(config: Config) -> None:
    """Bring the schema to the newest revision; harmless when it is there already."""
    from alembic import command

    if config.sqlalchemy_url.startswith("sqlite"):
        path = config.sqlalchemy_url.split("///", 1)[-1].split("?")[0]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(alembic_config(config), "head")


def alembic_config(config: Config) -> "AlembicConfig":
    from alembic.config import Config as AlembicConfig

    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(MIGRATIONS))
    alembic.attributes["celesta"] = config
    return alembic


def configure(flask_app: Flask, config: Config) -> None:
    """Attach the database of `config` to a Flask application."""
    import_module("app.models")  # fills the metadata; the models import this module
    flask_app.config["CELESTA"] = config
    flask_app.config["SQLALCHEMY_DATABASE_URI"] = config.sqlalchemy_url
    flask_app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(config.sqlalchemy_url)
    db.init_app(flask_app)


def current_config() -> Config:
    """The configuration of the application context that is open."""
    config: Config = current_app.config["CELESTA"]
    return config


def engine_options(url: str) -> dict[str, Any]:
    # Parameters stay out of error messages: they hold people's data, and thousands of rows of it.
    options: dict[str, Any] = {"json_serializer": _to_json, "hide_parameters": True}
    if url.startswith("postgresql"):
        # A server that was restarted leaves dead connections in the pool; each is probed before use.
        options |= {"pool_pre_ping": True, "connect_args": {"connect_timeout": 5}}
    return options


@lru_cache(maxsize=4)
def _standalone_app(config: Config, pid: int) -> Flask:
    """One per process: `pid` keeps a forked child from using its parent's connections."""
    app = Flask("celesta", static_folder=None, template_folder=None)
    configure(app, config)
    return app


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None  # we send BEGIN ourselves; the driver's own begins too late
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@event.listens_for(Engine, "begin")
def _begin_sqlite(connection: Any) -> None:
    if connection.dialect.name == "sqlite":
        write = connection.get_execution_options().get(WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@event.listens_for(Session, "before_flush")
def _refuse_unguarded_flush(session: Session, *_: Any) -> None:
    if not session.info.get(WRITE):
        raise RuntimeError("rows are written inside `with writing(session):` only; see app.db.writing")
