"""The logs of running pods that somebody looks at, as they are written.

The web server says in Redis which log is wanted, and reads the stream that is filled here. A cluster with thousands of
pods has few readers, so that only what is wanted is followed, by a thread each.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from workers.engine import keys
from workers.engine.livelog import LiveLog
from workers.executors.containers import STEP
from workers.executors.kubernetes.cluster import Cluster, ClusterError
from workers.executors.kubernetes.labels import pod_name

log = logging.getLogger(__name__)

Document = dict[str, Any]

FOLLOWED_AT_ONCE = 32
SILENCE_SECONDS = 3600.0


class Logs:
    """The followers of one watcher."""

    def __init__(self, client: Redis, cluster: Cluster) -> None:
        self._client = client
        self._cluster = cluster
        self._live = LiveLog(client)
        self._sent: dict[str, int] = {}
        self._followed: set[str] = set()

    def tick(self, find: Callable[[str], Document | None]) -> None:
        """Follows what is wanted and is not followed yet. `find` knows pods by name. Raises `RedisError`."""
        now = time.time()
        self._client.zremrangebyscore(keys.LOGS_WANTED, "-inf", now)
        for member in self._client.zrange(keys.LOGS_WANTED, 0, FOLLOWED_AT_ONCE - 1):
            wanted = member.decode()
            if wanted in self._followed or len(self._followed) >= FOLLOWED_AT_ONCE:
                continue
            pod = find(pod_name(*wanted.split("|")))
            if pod is not None and pod["status"].get("phase") == "Running":
                self._followed.add(wanted)
                threading.Thread(target=self._follow, args=(wanted, pod), name="log", daemon=True).start()

    def _follow(self, wanted: str, pod: Document) -> None:
        """From the log's beginning; what a follower before this one has sent is passed over."""
        run, node, token = wanted.split("|")
        passed, sent = 0, self._sent.get(wanted, 0)
        metadata = pod["metadata"]
        try:
            for data in self._cluster.follow_log(metadata["namespace"], metadata["name"], STEP, SILENCE_SECONDS):
                new = data[max(0, sent - passed) :]
                passed += len(data)
                if new:
                    self._live.write(run, node, token, new)
                    sent = self._sent[wanted] = max(sent, passed)
        except ClusterError as error:
            log.info("the log of pod %s is not followed now: %s", metadata["name"], error)
        finally:
            self._followed.discard(wanted)
            if len(self._sent) > 1000:
                self._sent.clear()
