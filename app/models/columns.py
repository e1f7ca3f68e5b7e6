"""Column types and shapes that several models share."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import mapped_column

from app.db import UtcDateTime

# JSON as text on both databases: JSONB would refuse a NUL escape that a user's error message may hold.
Json = JSON(none_as_null=True)
# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
Big = BigInteger().with_variant(Integer, "sqlite")

MAX_KEY = 2**63 - 1
"""No row has a higher number; SQLite cannot even be asked for one."""

Document = dict[str, Any]
BigKey = Annotated[int, mapped_column(Big, primary_key=True)]
Moment = Annotated[datetime, mapped_column(UtcDateTime)]
MaybeMoment = Annotated[datetime | None, mapped_column(UtcDateTime)]
JsonObject = Annotated[Document, mapped_column(Json)]
MaybeJson = Annotated[Document | None, mapped_column(Json)]
Size = Annotated[int, mapped_column(Big)]
ProjectKey = Annotated[int, mapped_column(ForeignKey("project.id", ondelete="CASCADE"))]
RunKey = Annotated[str, mapped_column(ForeignKey("run.id", ondelete="CASCADE"))]


def one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    """The constraint that `column` holds one of `values`."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=name)


def some_of(name: str, *columns: str, where: str) -> Index:
    """An index of those rows only that a query of the same condition asks for: the others cost no write."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def now() -> datetime:
    return datetime.now(UTC)
