"""Kombu's Redis transport, made to keep the client that it would make anew for every part of a message.

`workers.celery_app` installs it. A client of redis-py costs half a millisecond to make, and a message takes four of
them on its way: more than all else that is done for it. Refuses to change anything else about the transport.
"""

from typing import Any

from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """One client for each pool of connections; a client holds nothing else, and is safe to share among threads."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        kept = self._kept
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept = super()._create_client()
        return kept


def install() -> None:
    """Gives the Redis connections of this process our channels."""
    kombu_redis.Transport.Channel = Channel
