"""How far the recorder has folded each event stream; kept in the transaction of the rows it folded."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class StreamOffset(Base):
    """`gen` is the generation of the Redis that the offset belongs to; in another Redis it means nothing."""

    __tablename__ = "stream_offset"

    shard: Mapped[str] = mapped_column(primary_key=True)
    gen: Mapped[str]
    stream_id: Mapped[str]
