"""The engine of one process: its connections and caches, and the few numbers that say how eager it is.

Made once per process by `workers.celery_app.CelestaApp`; every function of this package takes it first. Owns no state
of any run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis import Redis

from celesta.store.base import Store
from workers.engine import scripts
from workers.engine.bindings import Resolver
from workers.engine.pace import Pace
from workers.engine.views import Views

CHUNK = 1_000
"""Most steps in one script call; one of 50,000 would freeze Redis for 0.2 s."""


Document = dict[str, Any]


class Place(Protocol):
    """What the engine asks of an executor about work that it launched: `workers.executors.base.Executor`."""

    def reconcile(self, attempt: Document) -> Document | None: ...


class Sender(Protocol):
    """Publishes step messages of one run: each a batch of (node, attempt)."""

    def __call__(self, run: str, batches: list[list[list[Any]]]) -> None: ...


@dataclass
class Engine:
    """What a process needs to move runs on."""

    client: Redis
    store: Store
    send: Sender
    lease_seconds: float = 10.0
    grace_seconds: float = 5.0
    """How long a message may stay unclaimed before somebody asks where it is."""
    launched_seconds: float = 60.0
    """How long work that was launched elsewhere is believed to go on; its executor says so several times in between."""
    place: Callable[[str], Place] | None = None
    """Finds the executor of this name, to ask what became of work of which nobody speaks any more."""
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.views = Views(self.client, self.store)
        self.resolver = Resolver(self.store)

    @property
    def lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)

    @property
    def launched_ms(self) -> int:
        return int(self.launched_seconds * 1000)

    @property
    def grace_ms(self) -> int:
        return int(self.grace_seconds * 1000)

    def now_ms(self) -> int:
        """Redis' own time, by which all deadlines are."""
        seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def call(self, name: str, run: str, **arguments: Any) -> scripts.Answer:
        return scripts.call(self.client, name, run, **arguments)

    def publish(self, run: str, steps: list[list[Any]]) -> None:
        """Sends what a script put in flight. A crash before this is repaired by the reconciler: it is an outbox."""
        if steps:
            self.send(run, self.pace.batches(self.views.of(run), steps))
