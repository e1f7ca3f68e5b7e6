"""For machines that watch this server: alive, ready, and numbers. Outside of `/api/v1`."""

from collections.abc import Callable, Iterator
from typing import Any

import redis
from flask import Flask, Response, request
from kombu.exceptions import OperationalError
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app import dispatch, redis_names
from app.access import authenticate
from app.api.schemas import answer_with
from app.db import current_config, db
from app.events import hub
from app.guard import PUBLIC, allow
from app.loopback import is_local
from app.models import RUN_TERMINAL, Run, Step
from app.stores import store
from celesta.errors import StoreError

PROBE_KEY = "readyz"  # nobody writes it: a store that says "not there" answers


def init_app(app: Flask) -> None:
    app.add_url_rule("/healthz", "healthz", healthz)
    app.add_url_rule("/readyz", "readyz", readyz)
    app.add_url_rule("/metrics", "metrics", metrics)


@allow(PUBLIC)
def healthz() -> Response:
    """This process answers."""
    return answer_with({"status": "ok"})


@allow(PUBLIC)
def readyz() -> Response:
    """Database, Redis and store answer; tells which does not, not why (the log does)."""
    checks: dict[str, Callable[[], Any]] = {
        "database": lambda: db.session.execute(text("SELECT 1")),
        "redis": lambda: hub().redis.ping(),
        "store": lambda: store().size(PROBE_KEY),
    }
    found = {name: _try(check) for name, check in checks.items()}
    ready = all(state == "ok" for state in found.values())
    return answer_with({"status": "ok" if ready else "not ready", "checks": found}, 200 if ready else 503)


def _try(check: Callable[[], Any]) -> str:
    try:
        check()
    except (SQLAlchemyError, redis.RedisError, StoreError) as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"


@allow(PUBLIC)
def metrics() -> Response:
    """Numbers for Prometheus, computed now. Open to this machine, and to callers with a token."""
    if not is_local(request):
        authenticate(request, db.session, current_config())
    from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(PROCESS_COLLECTOR)
    registry.register(_Collector())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Collector:
    """Asks the database and Redis once per scrape; what does not answer is left out."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        for name, help_text, label, read in (
            ("celesta_runs", "Runs by status", "status", _runs),
            ("celesta_open_steps", "Steps by state, of the runs that have not ended", "state", _open_steps),
            ("celesta_queue_messages", "Messages that wait in a queue", "queue", _queues),
            ("celesta_steps_in_flight", "Steps that are sent, running or timed", "shard", _in_flight),
        ):
            family = GaugeMetricFamily(name, help_text, labels=[label])
            try:
                for value, number in read().items():
                    family.add_metric([value], number)
            except (SQLAlchemyError, redis.RedisError, OperationalError):
                continue
            yield family


def _runs() -> dict[str, int]:
    return dict(db.session.execute(select(Run.status, func.count()).group_by(Run.status)).all())


def _open_steps() -> dict[str, int]:
    query = select(Step.state, func.count()).join(Run, Run.id == Step.run_id).where(Run.status.not_in(RUN_TERMINAL))
    return dict(db.session.execute(query.group_by(Step.state)).all())


def _queues() -> dict[str, int]:
    return dispatch.waiting(current_config().celery_broker_url)


def _in_flight() -> dict[str, int]:
    shards = range(current_config().shards)
    return {str(shard): int(hub().redis.zcard(redis_names.inflight(f"p{shard}"))) for shard in shards}
