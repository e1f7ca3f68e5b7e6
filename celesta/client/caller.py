"""How the REST API is said over HTTP: the connection, the paths of a project, pages of a listing.

The base of `celesta.client.Client`: its methods are in `api`, by subject in `cache`, `models`, `results` and `shares`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote, urlencode

from celesta.client.http import Connection
from celesta.errors import NotFoundError
from celesta.settings import Settings

Document = dict[str, Any]
PAGE = 100
MOST_DIGITS = 18
"""Of an id that a row can have."""


class Caller:
    """One project on one server."""

    def __init__(self, url: str, token: str | None = None, project: str = "default") -> None:
        self.url = url.rstrip("/")
        self.project = project
        self.http = Connection(self.url, token)

    @classmethod
    def from_env(cls, project: str | None = None) -> Self:
        """The server of `CELESTA_URL`, or the stack that runs in `CELESTA_HOME`."""
        settings = Settings.from_env()
        return cls(settings.server_url(), settings.token, project or settings.project)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def _path(self, *names: str, **query: object) -> str:
        if not all(names):
            raise NotFoundError("an empty text names nothing here; give a name or an id")
        path = "/".join(quote(name, safe="") for name in ("api", "v1", "projects", self.project, *names))
        asked = urlencode({key: value for key, value in query.items() if value is not None}, doseq=True)
        return f"/{path}?{asked}" if asked else f"/{path}"

    def _get(self, *names: str, **query: object) -> Document:
        return dict(self.http.json("GET", self._path(*names, **query)))

    def _post(self, document: Document, *names: str) -> Document:
        return dict(self.http.json("POST", self._path(*names), document))

    def _put(self, document: Document, *names: str) -> Document:
        return dict(self.http.json("PUT", self._path(*names), document))

    def _list(self, limit: int | None, *names: str, **query: object) -> Iterator[Document]:
        return self._pages(self._path(*names, **query), limit)

    def _pages(self, path: str, limit: int | None) -> Iterator[Document]:
        cursor, seen = None, 0
        while limit is None or seen < limit:
            asked: Document = {"limit": PAGE if limit is None else min(PAGE, limit - seen)}
            asked |= {"cursor": cursor} if cursor else {}
            page = self.http.json("GET", f"{path}{'&' if '?' in path else '?'}{urlencode(asked)}")
            yield from page["items"]
            seen, cursor = seen + len(page["items"]), page.get("next_cursor")
            if not cursor:
                return


def row_number(text: str, noun: str, listing: str) -> str:
    """An id that is a number, as it stands in a path. Raises `NotFoundError` for any other text."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise NotFoundError(f'there is no {noun} "{text}": ids of {noun}s are numbers; see: {listing}')
    return text
