"""Where values, bundles, results and logs are kept: one interface, a store in a folder and one in S3."""

from urllib.parse import unquote, urlsplit

from celesta.errors import StoreError
from celesta.store.base import Store, prefix_of, step_prefix
from celesta.store.local import LocalStore

__all__ = ["Store", "open_store", "prefix_of", "step_prefix"]


def open_store(url: str, endpoint_url: str | None = None) -> Store:
    """The store at `file:///folder`, a plain absolute folder, or `s3://bucket/prefix`.

    Opens no connection. `endpoint_url` is for S3-compatible services other than AWS.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from celesta.store.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), endpoint_url)
    folder = unquote(parts.path)
    if parts.scheme in ("file", "") and not parts.netloc and folder.startswith("/"):
        return LocalStore(folder)
    message = f"{url!r} is not a store; give file:///absolute/folder or s3://bucket/prefix"
    raise StoreError(message, code="bad_store_url", retryable=False)
