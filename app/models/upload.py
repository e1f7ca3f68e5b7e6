"""Which bytes a project was given, by a person, a step or a launch: it may rely on them without an artifact."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import Moment, ProjectKey, now


class Upload(Base):
    """That somebody of the project had these bytes, or might use them. Written by `app.services.blob_access`, and taken
    away by the garbage collection together with them."""

    __tablename__ = "upload"

    project_id: Mapped[ProjectKey] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[Moment] = mapped_column(default=now)
