"""Celery's beat over the schedules of the database.

`celesta server beat` and the supervisor call `run`; `celery beat -S workers.beat:DatabaseScheduler` works too. Any
number of beats may run: one leads by a lease in Redis and does the work, and each fire is claimed in the database, so
that it happens once even when two believe to lead. Keeps nothing in memory between ticks.
"""

import logging
import os
import select
import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any

from celery import Celery
from celery.beat import Scheduler, Service
from redis import RedisError
from sqlalchemy.exc import DBAPIError

from app.config import Config
from app.db import db, standalone
from app.models.columns import now
from app.redis_client import connect
from app.services.schedule_fire import fire_due
from celesta.errors import CelestaError
from workers import alive
from workers.engine import keys
from workers.lead import Lead

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
"""A beat that dies is replaced after this; fires that were due meanwhile come late, not never."""
MOST_SECONDS = 5.0
"""Longest sleep: how late a new schedule may be seen."""
LEAST_SECONDS = 0.05


class DatabaseScheduler(Scheduler):  # type: ignore[misc]
    """Fires what is due at each tick. Celery's own entries are not used: every message goes through a launch."""

    def __init__(self, app: Any, *args: Any, config: Config | None = None, **kwargs: Any) -> None:
        self.config: Config = config or getattr(app, "config", None) or Config.from_env()
        self.client = connect(self.config.redis_url)
        self.lead = Lead(self.client, keys.BEAT, LEASE_SECONDS)
        self.leads = False
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """There is nothing to set up."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due, when this beat leads; seconds until the next tick. Never raises: beat would end by it."""
        try:
            self.leads = self.lead.held()
            pause = self._fire() if self.leads else MOST_SECONDS
            alive.touch(self.config)
            return pause
        except (RedisError, DBAPIError, CelestaError) as error:
            log.warning("beat waits for a service: %s", error)
            alive.touch(self.config)
        except Exception:
            log.exception("a tick failed; the next one tries again")
        return MOST_SECONDS

    def close(self) -> None:
        """Hand over at once, instead of when the lease ends."""
        super().close()
        self.lead.resign()
        self.client.close()

    def _fire(self) -> float:
        moment = now()
        with standalone(self.config):
            upcoming = fire_due(db.session, self.config, moment)
        return _seconds_until(upcoming)


def run(config: Config, ready: Callable[[], None] = lambda: None) -> None:
    """Fire schedules until SIGTERM or SIGINT.

    The loop is ours, since Celery's ends by an exception out of the signal handler, and an exception that is raised
    inside a callback of the interpreter is lost: then beat would sleep on.
    """
    app = Celery("celesta-beat", broker=config.celery_broker_url, set_as_current=False)
    app.config = config
    told, tell = os.pipe()
    before = {
        number: signal.signal(number, lambda *_: os.write(tell, b"!")) for number in (signal.SIGTERM, signal.SIGINT)
    }
    service = Service(app, scheduler_cls=DatabaseScheduler, remote_control=False)
    ready()
    try:
        while not select.select([told], [], [], service.scheduler.tick())[0]:
            pass
    finally:
        service.sync()
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _seconds_until(upcoming: datetime | None) -> float:
    if upcoming is None:
        return MOST_SECONDS
    return min(MOST_SECONDS, max(LEAST_SECONDS, (upcoming - now()).total_seconds()))
