"""What people and programs answered to the questions of runs: committed here before the engine hears of it."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import MaybeJson, Moment, RunKey, now


class Answer(Base):
    """The one answer of a step that asks. `value` is a reference, and NULL when nobody answered in time."""

    __tablename__ = "answer"

    run_id: Mapped[RunKey] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    value: Mapped[MaybeJson]
    note: Mapped[str] = mapped_column(default="")
    answered_by: Mapped[str] = mapped_column(default="")
    answered_at: Mapped[Moment] = mapped_column(default=now)
