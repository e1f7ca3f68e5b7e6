"""The steps of a run, their attempts and metrics: the fold of the engine's events. Written by the recorder only."""

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import Big, MaybeJson, MaybeMoment, Moment, RunKey, Size, one_of, some_of

STEP_TERMINAL = ("succeeded", "failed", "cached", "skipped", "upstream_failed", "cancelled")
STEP_STATES = ("waiting", "running", "backoff", "parked", *STEP_TERMINAL)
ATTEMPT_STATES = ("running", "succeeded", "failed", "lost", "cached", "cancelled")


INSIDE = 2**31 - 1
"""The `item` of a step of a plan that a dynamic step opened: behind the items of a map, and none of them."""


class Step(Base):
    """`position` is the index in the run's plan, of the step or of what it lies below, and `item` its place in a map.

    -1 is no item, `INSIDE` a step of an opened plan; position, item and node give the order.
    """

    __tablename__ = "step"
    __table_args__ = (
        one_of("state", STEP_STATES, "state"),
        Index(None, "run_id", "position", "item"),
        some_of("ix_step_cache_key", "cache_key", where="cache_key IS NOT NULL"),
    )

    run_id: Mapped[RunKey] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    item: Mapped[int] = mapped_column(default=-1)
    path: Mapped[str]
    task: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int] = mapped_column(default=0)
    token: Mapped[str | None]
    width: Mapped[int | None]
    plan: Mapped[str | None]
    """Of a dynamic step: the digest of the plan that it opened."""
    parked: Mapped[MaybeJson]
    """Of a step that waits without a worker: what it waits for, until when, what it asks and who may answer."""
    retry_at: Mapped[MaybeMoment]
    """Of a step that was tried again: when its next attempt might begin."""
    cache_key: Mapped[str | None]
    source: Mapped[MaybeJson]
    environment: Mapped[str | None]
    """The digest of the lock that it ran in: Python, platform and packages. NULL: an image, or nobody knows."""
    outputs: Mapped[MaybeJson]
    error: Mapped[MaybeJson]
    input_digests: Mapped[MaybeJson]
    report: Mapped[bool] = mapped_column(default=False)
    log_bytes: Mapped[Size] = mapped_column(default=0)
    started_at: Mapped[MaybeMoment]
    finished_at: Mapped[MaybeMoment]


class Attempt(Base):
    """One try at a step, `cached` where the result of another came before its turn.

    `reason` tells why it did not succeed (`user, system, timeout, out_of_memory, lost`).
    """

    __tablename__ = "attempt"
    __table_args__ = (one_of("state", ATTEMPT_STATES, "state"),)

    run_id: Mapped[RunKey] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason: Mapped[str | None]
    worker: Mapped[str | None]
    error: Mapped[MaybeJson]
    started_at: Mapped[MaybeMoment]
    finished_at: Mapped[MaybeMoment]


class Metric(Base):
    """A number that a step logged; `ordinal` is its place among the step's metrics, so that a replay adds nothing."""

    __tablename__ = "metric"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "node"], ["step.run_id", "step.node"], ondelete="CASCADE"),
        Index(None, "run_id", "name"),
    )

    run_id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    step: Mapped[int | None] = mapped_column(Big)
    value: Mapped[float | None]
    """Null where the step logged NaN, which SQLite does not know."""
    at: Mapped[Moment]
