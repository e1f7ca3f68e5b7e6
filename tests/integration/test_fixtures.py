"""The services that other tests lean on are real, empty and private."""

from pathlib import Path

import boto3
import psycopg
import redis

from tests.fixtures.object_store import Bucket


def test_each_test_gets_an_empty_append_only_broker(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.dbsize() == 0
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("port") == {"port": "0"}
        client.set("left", "behind")


def test_what_a_test_leaves_in_the_broker_is_gone_for_the_next(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_each_test_gets_an_empty_postgresql_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_each_test_gets_an_empty_bucket_on_loopback(s3: Bucket) -> None:
    assert s3.endpoint_url.startswith("http://127.0.0.1:")
    client = boto3.client("s3", endpoint_url=s3.endpoint_url)
    bucket = s3.store_url.split("/")[2]
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_home_is_short_enough_for_a_socket(home: Path) -> None:
    assert len(str(home / "run" / "broker.sock")) < 100


def test_rabbitmq_passes_a_message_on(rabbitmq_url: str) -> None:
    from kombu import Connection

    with Connection(rabbitmq_url) as connection, connection.SimpleQueue("here") as queue:
        queue.put({"x": 1})
        message = queue.get(timeout=10)
        message.ack()
        assert message.payload == {"x": 1}
