"""The Celery application, and how its processes are started. Every setting says which failure it prevents.

`create(config)` makes the application for a configuration; `celery -A workers.celery_app` and `workers.server` use it.
Owns the engine of each process. Opens no connection at import, and none before the first message.
"""

import os
from dataclasses import replace

# Eviction and `celesta down` send SIGTERM. Remapped, it lets steps end for a moment and then ends them, instead of
# waiting for the longest. Billiard reads this when it is imported, so it stands before that.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from functools import cached_property
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from app.config import Config
from app.dispatch import QUEUE_CONTROL, QUEUE_STEPS, TASK_FINISH, TASK_START, TASK_STEPS
from app.redis_client import SOCKET_SECONDS, connect
from celesta.store import open_store
from workers.deliveries import Deliveries
from workers.engine import Engine
from workers.engine.publishing import Publisher
from workers.executors.chosen import ChosenExecutor

LAUNCHED_AT_ONCE = 8
ROLE_QUEUES = {"worker": (QUEUE_STEPS, QUEUE_CONTROL), "recorder": (QUEUE_CONTROL,)}
"""Runs start in both roles: the recorder's threads are never busy with steps, so that a start never waits for one."""


class CelestaApp(Celery):  # type: ignore[misc]
    """A Celery application that knows its configuration and has one engine per process."""

    config: Config

    @cached_property
    def engine(self) -> Engine:
        config = self.config
        store = open_store(config.store_url, config.s3_endpoint_url)
        client = connect(config.redis_url)
        places = ChosenExecutor(config)
        return Engine(client, store, Publisher(self), lease_seconds=config.lease_seconds, place=places.of)


def create(config: Config) -> CelestaApp:
    """The application for this configuration, with the tasks registered."""
    from workers import tasks, transport

    transport.install()
    app = CelestaApp("celesta", set_as_current=False)
    app.config = config
    app.conf.update(settings(config))
    app.steps["consumer"].add(Deliveries)
    tasks.register(app)
    return app


def settings(config: Config) -> dict[str, Any]:
    """Celery's settings, by the failure each prevents."""
    return {
        # Messages
        "broker_url": config.celery_broker_url,
        "task_serializer": "json",
        "result_serializer": "json",
        # A pickle in a queue would be code that runs in our workers.
        "accept_content": ["json"],
        # Only these two queues exist: a typing error in a route must not make a queue that nobody reads.
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in (QUEUE_CONTROL, QUEUE_STEPS)],
        "task_default_queue": QUEUE_CONTROL,
        "task_create_missing_queues": False,
        "task_routes": {
            TASK_START: QUEUE_CONTROL,
            TASK_FINISH: QUEUE_CONTROL,
            TASK_STEPS: QUEUE_STEPS,
        },
        # Results: none. Outcomes go to the object store and to the engine; the backend is here for its chord hook.
        "result_backend": chord_backend(config),
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_track_started": False,
        # Delivery: acknowledged when a step begins. Late acknowledgement runs a step twice when it takes longer than
        # the visibility timeout; our leases and fences do this work instead.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A worker that hoards messages keeps them from idle ones.
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": _transport_options(config),
        # A broker that restarts, or starts after us, is waited for.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # What a transition could not publish is left to the reconciler; it must not hang in here.
        "task_publish_retry": False,
        # Chatter: events, gossip, mingle and remote control cost round trips per message and leave reply queues that
        # never expire. Progress is told by our own stream.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_enable_remote_control": False,
        # Processes
        "worker_concurrency": config.slots,
        # A lost child is looked for at once: its lease can be ended by the parent who saw it die.
        "worker_lost_wait": 0.5,
        # Children import the engine; on a loaded machine that takes longer than the default four seconds.
        "worker_proc_alive_timeout": 60.0,
        # At SIGTERM steps have this long to end; what is left is started again by others.
        "worker_soft_shutdown_timeout": 5.0,
        # Our processes log in their own form, and what a library prints is no event.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


def _transport_options(config: Config) -> dict[str, Any]:
    if config.broker_url.startswith("amqp"):
        return {"confirm_publish": True}  # What the broker did not take is left to the reconciler.
    return {
        # A prefetched message of a killed worker comes back after this, not after Celery's hour.
        "visibility_timeout": 60,
        # A worker must notice a broker that went away without a word, or it stops consuming for good.
        "socket_timeout": 10,
        "socket_connect_timeout": SOCKET_SECONDS,
        "health_check_interval": 25,
        **({} if config.broker_url.startswith("unix:") else {"socket_keepalive": True}),
    }


def chord_backend(config: Config) -> str:
    """The result backend's URL: our class on the engine's Redis, in Celery's spelling."""
    url = replace(config, broker_url=config.redis_url).celery_broker_url.replace("redis+socket://", "socket://", 1)
    return f"workers.engine:ChordBackend+{url}"


def worker_argv(role: str, config: Config) -> list[str]:
    """Arguments for `Celery.worker_main` of the role `worker` or `recorder`."""
    # Launching pods is waiting for others: threads do that as well as processes, and share one pace and one client.
    launches = role == "worker" and config.executor == "kubernetes"
    pool = "threads" if launches or role == "recorder" else "prefork"
    at_once = 2 if role == "recorder" else max(LAUNCHED_AT_ONCE, config.slots) if launches else config.slots
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    names = [f"--hostname={role}-{os.getpid()}@%h", f"--queues={','.join(ROLE_QUEUES[role])}"]
    return [
        "--quiet",
        "worker",
        f"--pool={pool}",
        f"--concurrency={at_once}",
        *chatter,
        *names,
        "-O",
        "fair",
        "--loglevel=WARNING",
    ]


def __getattr__(name: str) -> Any:
    if name == "app":  # `celery -A workers.celery_app`; importing this module alone reads no environment
        return globals().setdefault("app", create(Config.from_env()))
    raise AttributeError(name)
