"""The one place from which `app` sends messages, and the names of all queues and messages.

Services call `send_start` after their commit, and the reconciler for what was committed and never sent. `workers` reads
the constants, and has its own producer for what the engine sends. Refuses to send anything but ids: what a message
means is looked up by whoever takes it.
"""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

TASK_START = "celesta.start"
TASK_STEPS = "celesta.steps"
TASK_FINISH = "celesta.finish"
QUEUE_CONTROL = "control"
QUEUE_STEPS = "steps"
SOCKET_TIMEOUTS = {"socket_timeout": 5, "socket_connect_timeout": 5}


def send_start(broker_url: str, run_id: str) -> bool:
    """Tell the workers to look at the run `run_id`, after the commit of what they shall see.

    Sending twice is harmless: the engine starts a run once. False: no broker answers now. That is no error, since the
    database says what is to be done, and a sweeper sends it later.
    """
    from kombu.exceptions import OperationalError

    try:
        _producer(broker_url).send_task(
            TASK_START,
            args=[run_id],
            queue=QUEUE_CONTROL,
            ignore_result=True,
            argsrepr="-",
            kwargsrepr="-",
            reply_to="",
        )
    except (OperationalError, OSError) as error:
        log.warning("run %s waits until a broker answers: %s", run_id, error)
        return False
    return True


def waiting(broker_url: str) -> dict[str, int]:
    """How many messages wait in each queue. Raises `OperationalError` of kombu when no broker answers."""
    from kombu.exceptions import OperationalError

    with _producer(broker_url).connection_for_write() as connection:
        try:
            return {queue: _length(connection, queue) for queue in (QUEUE_CONTROL, QUEUE_STEPS)}
        except connection.connection_errors as error:
            raise OperationalError(str(error)) from error


def _length(connection: Any, queue: str) -> int:
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:  # Nothing is in it, or ever was: such a queue is none to Redis.
        return 0


def prepare(broker_url: str) -> None:
    """Load now what the first launch would wait for; connects to nothing."""
    with _producer(broker_url).connection_for_write() as connection:
        connection.transport  # noqa: B018  (a property that imports the transport)


@lru_cache(maxsize=4)
def _producer(broker_url: str) -> "Celery":
    from celery import Celery  # here, since readers of the constants do not all want Celery loaded

    app = Celery("celesta-dispatch", broker=broker_url, set_as_current=False)
    timeouts = {"confirm_publish": True} if broker_url.startswith("amqp") else SOCKET_TIMEOUTS
    app.conf.update(
        task_ignore_result=True,
        task_create_missing_queues=True,
        # Without these a launch would hang on a lost broker; the sweeper publishes later what was committed.
        broker_transport_options={**timeouts, "max_retries": 1},
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        broker_connection_timeout=5,
    )
    return app
