"""Our transport keeps the client that kombu makes anew for every message; kombu still makes it where we keep it."""

from kombu import Connection
from redis import ConnectionPool, Redis

from workers import transport


def channel() -> transport.Channel:
    made = transport.Channel.__new__(transport.Channel)  # its own `__init__` connects
    made._pool, made.Client = ConnectionPool(), Redis
    return made


def test_one_client_serves_all_messages_until_the_connection_is_made_anew() -> None:
    made = channel()
    with made.conn_or_acquire() as first, made.conn_or_acquire() as second:
        assert first is second
    made._pool = ConnectionPool()
    with made.conn_or_acquire() as third:
        assert third is not first


def test_what_listens_has_a_client_of_its_own() -> None:
    made = channel()
    made._async_pool = ConnectionPool()
    with made.conn_or_acquire() as shared:
        assert made._create_client(asynchronous=True) is not shared


def test_every_redis_url_gets_it() -> None:
    transport.install()
    for url in ("redis://localhost", "rediss://localhost", "redis+socket:///tmp/x.sock?virtual_host=0"):
        assert Connection(url).get_transport_cls().Channel is transport.Channel, url
