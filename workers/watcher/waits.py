"""Pods that have not started, and why: told in Redis as long as it is so, for those who look at their steps.

Most pods start within seconds, of which nobody needs to be told: a pod is told of when it still waits at a second look.
"""

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from redis import Redis

from workers.engine import pending
from workers.executors.kubernetes.causes import waits_for
from workers.executors.kubernetes.labels import Attempt

KEPT_SECONDS = 60.0
TELL_AGAIN_SECONDS = 20.0


class Waits:
    """What one watcher has told."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._told: dict[pending.Attempt, tuple[str, float]] = {}
        self._seen: set[pending.Attempt] = set()

    def tell(self, living: Iterable[tuple[Mapping[str, Any], Attempt]], words: Mapping[str, str]) -> None:
        """Looks at all pods that have not ended. Writes only what is new, or about to be forgotten.

        `words` is what events say of pods that do not start, by uid.
        """
        now = monotonic()
        texts = ((one, waits_for(pod, words.get(pod["metadata"]["uid"], ""))) for pod, one in living)
        waiting = {(one.run, one.node, one.token): text for one, text in texts if text}
        found = {attempt: text for attempt, text in waiting.items() if attempt in self._seen}
        self._seen = set(waiting)
        due = {
            attempt: text
            for attempt, text in found.items()
            if (told := self._told.get(attempt)) is None or told[0] != text or now - told[1] >= TELL_AGAIN_SECONDS
        }
        begun = self._told.keys() - found.keys()
        if due or begun:
            pending.tell(self._client, due, KEPT_SECONDS, begun)
        kept = {attempt: told for attempt, told in self._told.items() if attempt in found}
        self._told = kept | {attempt: (text, now) for attempt, text in due.items()}
