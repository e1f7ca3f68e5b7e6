"""The same stack on a team's services: PostgreSQL and an S3-compatible store."""

from collections.abc import Callable
from pathlib import Path

import boto3
import psycopg

from tests.fixtures.object_store import Bucket
from tests.fixtures.stack import Stack


def test_the_digits_pipeline_runs_on_postgresql_and_s3(
    new_stack: Callable[..., Stack], postgres_url: str, redis_url: str, s3: Bucket, copy_of: Callable[[str], Path]
) -> None:
    stack = new_stack("--workers", 2, CELESTA_DATABASE_URL=postgres_url, CELESTA_REDIS_URL=redis_url, **s3.environ)
    file = copy_of("examples/digits.py")
    first, second = (stack.json("run", file, "digits") for _ in range(2))
    assert first["status"] == second["status"] == "succeeded"
    assert second["steps"]["cached"] == second["steps"]["total"]
    assert first["outputs"] == second["outputs"]

    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM run WHERE status = 'succeeded'").fetchone() == (2,)
    objects = boto3.client("s3", endpoint_url=s3.endpoint_url).list_objects_v2(Bucket=s3.store_url.split("/")[2])
    assert objects["KeyCount"] > 50
    assert not (stack.home / "celesta.db").exists()
    assert not any((stack.home / "store").rglob("*.json")), "nothing went to the embedded store"
