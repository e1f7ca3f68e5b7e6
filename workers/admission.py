"""What the reconciler does for those who wait: it tells the engine the limits of projects and the shares of runs, and
asks again where a place or a turn may have been left.

Limits and weights are the database's; what stands in Redis is a copy, made again within one look.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.services import run_source
from workers import sources
from workers.engine import keys
from workers.engine.advancing import top_up
from workers.shares import Waiting, shares

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp


@dataclass(frozen=True)
class Facts:
    """A run as Redis has it."""

    project: str
    control: str
    sent: int
    ready: int
    limited: bool
    share: float | None

    @property
    def competes(self) -> bool:
        """Whether it has steps in the queue, or for it. What only waits for places of a limit does not."""
        return self.control == "run" and (self.sent > 0 or (self.ready > 0 and not self.limited))


@dataclass
class Admission:
    """One reconciler's part in it; it remembers what it told last."""

    app: "CelestaApp"
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    shared: bool = False
    """Whether runs share the queue: then the next look should come soon."""

    def look(self, runs: Iterable[str]) -> None:
        """One round. `runs` are those that have not ended, oldest first."""
        with sources.database(self.app.config):
            projects, priorities = run_source.admission()
        self._tell_limits({project: limits for project, (_, limits) in projects.items()})
        known = self._known(list(runs))
        waiting = [Waiting(run, one.project, priorities.get(run, 0)) for run, one in known.items() if one.competes]
        chosen = shares(waiting, {project: weight for project, (weight, _) in projects.items()})
        self.shared = bool(chosen)
        for run, one in known.items():
            if chosen.get(run) != one.share:
                self.app.engine.call("share", run, share=chosen.get(run))
        for project, names in self.limits.items():
            if names:
                self._clear(f"{keys.LIMITS}:{project}", names)
        for run, one in known.items():
            if one.ready:
                top_up(self.app.engine, run)

    def _tell_limits(self, limits: dict[str, dict[str, int]]) -> None:
        client = self.app.engine.client
        for project in limits.keys() | self.limits:
            wanted = limits.get(project, {})
            name = f"{keys.LIMITS}:{project}"
            if wanted == self.limits.get(project) and (not wanted or client.exists(name)):
                continue
            pipe = client.pipeline(transaction=True)
            pipe.delete(name)
            if wanted:
                pipe.hset(name, mapping=dict(wanted))
            pipe.execute()
        self.limits = {project: dict(wanted) for project, wanted in limits.items()}

    def _known(self, runs: list[str]) -> dict[str, Facts]:
        pipe = self.app.engine.client.pipeline(transaction=False)
        for run in runs:
            pipe.hmget(keys.meta(run), ["project", "control", "sent", "limited", "share"])
            pipe.zcard(keys.ready(run))
        replies = pipe.execute()
        known: dict[str, Facts] = {}
        for run, (project, control, sent, limited, share), ready in zip(runs, replies[::2], replies[1::2], strict=True):
            if project is not None:
                told = None if share is None else float(share)
                known[run] = Facts(project.decode(), control.decode(), int(sent), ready, limited is not None, told)
        return known

    def _clear(self, project: str, names: Iterable[str]) -> None:
        """Runs that Redis does not know any more have no place in a line, and their steps none of a limit."""
        client = self.app.engine.client
        lines = {f"{project}:line:{limits.decode()}" for limits in client.smembers(f"{project}:lines")}
        pipe = client.pipeline(transaction=False)
        for line in lines:
            pipe.zrange(line, 0, -1)
        for name in names:
            pipe.smembers(f"{project}:@{name}")
        there = zip([*lines, *(f"{project}:@{name}" for name in names)], pipe.execute(), strict=True)
        named = {key: [member.decode() for member in members] for key, members in there}
        gone = self._forgotten([member for members in named.values() for member in members])
        pipe = client.pipeline(transaction=False)
        for key, members in named.items():
            if forgotten := gone & set(members):
                (pipe.zrem if key in lines else pipe.srem)(key, *forgotten)
        pipe.execute()

    def _forgotten(self, names: list[str]) -> set[str]:
        """Those whose run Redis does not know, in one round trip."""
        runs = sorted({name.partition("|")[0] for name in names})
        pipe = self.app.engine.client.pipeline(transaction=False)
        for run in runs:
            pipe.exists(keys.meta(run))
        known = {run for run, there in zip(runs, pipe.execute(), strict=True) if there}
        return {name for name in names if name.partition("|")[0] not in known}
