"""Where values, bundles, results and logs are kept: one interface, and a store in a folder."""

from urllib.parse import unquote, urlsplit

from celesta.errors import StoreError
from celesta.store.base import Store, step_prefix
from celesta.store.local import LocalStore

__all__ = ["Store", "open_store", "step_prefix"]


def open_store(url: str, endpoint_url: str | None = None) -> Store:
    """The store at `file:///folder`, or at a plain absolute folder."""
    parts = urlsplit(url)
    folder = unquote(parts.path)
    if parts.scheme in ("file", "") and not parts.netloc and folder.startswith("/"):
        return LocalStore(folder)
    message = f"{url!r} is not a store; give file:///absolute/folder"
    raise StoreError(message, code="bad_store_url", retryable=False)
