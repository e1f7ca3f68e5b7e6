"""Server-sent events, read from a response: the `text/event-stream` format as far as servers of ours write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Message(NamedTuple):
    id: str
    event: str
    data: str


def parse(lines: Iterable[bytes]) -> Iterator[Message]:
    """Messages with data, in order; comments (heartbeats) are passed over."""
    last_id, event, data = "", "message", list[str]()
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Message(last_id, event, "\n".join(data))
            event, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "id":
            last_id = value
        elif field == "event":
            event = value
