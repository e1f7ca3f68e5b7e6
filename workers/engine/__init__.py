"""The chord engine: moves runs from step to step over Celery's chord protocol.

`workers.tasks`, `workers.reconciler` and the recorder call what is exported here; nobody else writes a run's keys in
Redis. Refuses to know what a step computes: it sees documents, references and digests only.
"""

from workers.engine.backend import ChordBackend
from workers.engine.completing import answer, complete, promote
from workers.engine.controlling import control
from workers.engine.core import Engine
from workers.engine.finishing import finish, forget
from workers.engine.settling import Ended
from workers.engine.starting import rebuild, resume, start

__all__ = [
    "ChordBackend",
    "Ended",
    "Engine",
    "answer",
    "complete",
    "control",
    "finish",
    "forget",
    "promote",
    "rebuild",
    "resume",
    "start",
]
