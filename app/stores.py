"""The store of a configuration, opened once in each process. Services and pages ask here."""

import os
from functools import lru_cache

from app.config import Config
from celesta.store import Store, open_store


def store() -> Store:
    """The store of the application context that is open."""
    from app.db import current_config  # here: whoever has a configuration in hand needs no Flask

    return store_of(current_config())


def store_of(config: Config) -> Store:
    return _opened(config.store_url, config.s3_endpoint_url, os.getpid())


@lru_cache(maxsize=4)
def _opened(url: str, endpoint_url: str | None, pid: int) -> Store:
    """`pid` keeps a forked child from using its parent's connections."""
    return open_store(url, endpoint_url)
