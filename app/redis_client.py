"""How every process of ours talks to Redis: one client, with its time-outs and retries spelled out.

The web server, the engine, the recorder and beat ask here; Celery has a client of its own for the broker.
"""

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

SOCKET_SECONDS = 3.0
"""A Redis that does not answer is given up after this, and asked once more: together below the shortest lease."""


def connect(redis_url: str) -> "Redis[Any]":
    """Opens no connection before the first question. Safe to share between threads."""
    options: dict[str, Any] = {
        # redis-py's own defaults may change under us; a call must fail well before a lease of ours ends.
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        # Scripts applied twice are applied once, and events too, so that one blind retry is safe.
        "retry": Retry(ConstantBackoff(0.2), 1),
        # A connection through a load balancer may die unseen while no step runs.
        "health_check_interval": 30,
        # RESP3 changes the shape of stream and set replies.
        "protocol": 2,
    }
    if urlsplit(redis_url).scheme != "unix":
        options["socket_keepalive"] = True
    return Redis.from_url(redis_url, **options)


def stream_order(stream_id: str) -> tuple[int, int]:
    """How the ids of a stream's entries are ordered: by moment, then by number."""
    moment, _, number = stream_id.partition("-")
    return int(moment), int(number or 0)
