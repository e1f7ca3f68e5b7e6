"""Between the database and the engine: a run as it was committed, and what earlier epochs recorded of it.

The start task and the reconciler come here; the engine itself knows no database.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

from app.config import Config
from app.db import standalone
from app.services import run_source
from workers.engine.controlling import Action
from workers.engine.settling import Adopted
from workers.engine.source import Source
from workers.engine.waiting import Answer, Tried, Waits

TAKEN_OVER = frozenset({"succeeded", "failed", "cached"})
"""Recorded ends that a rebuild takes over. The others follow from these, or are decided anew."""


@contextmanager
def database(config: Config) -> Iterator[None]:
    """The database of this process, for the calls inside."""
    with standalone(config):
        yield


def record() -> tuple[list[str], list[str]]:
    """The names of all projects, and the runs that have not ended."""
    return run_source.projects(), list(run_source.unfinished())


def load(run_id: str) -> Source:
    """The run as it was committed. Raises `NotFoundError`."""
    found = run_source.load_run(run_id)
    return Source(
        run=run_id,
        project=found.project,
        plan=found.plan_blob,
        inputs=found.inputs,
        options=found.options,
        epoch=found.epoch,
        status=found.status,
        control=cast(Action, found.control),
        started_ms=found.started_ms,
        pinned=found.adopted,
        settled=partial(_settled, run_id),
        reusable=partial(_reusable, found.origin) if found.origin else None,
        waits=partial(_waits, run_id),
        raise_epoch=partial(run_source.raise_epoch, run_id, found.epoch),
    )


def _reusable(origin: str) -> Iterator[tuple[str, str, Adopted]]:
    for node, path, step in run_source.reusable_steps(origin):
        yield node, path, Adopted(step.state, None, step.outcome or {}, step.source, step.cache_key)


def answers(run_id: str) -> dict[str, Answer]:
    """What was answered to the run's questions, by node."""
    return _as_answers(run_source.answers(run_id))


def close_questions(run_id: str, nodes: Sequence[str]) -> dict[str, Answer]:
    """Closes questions whose time has passed; what they have come to."""
    return _as_answers(run_source.close_questions(run_id, nodes))


def _as_answers(given: Mapping[str, run_source.GivenAnswer]) -> dict[str, Answer]:
    return {node: Answer(one.value, one.by, one.note) for node, one in given.items()}


def _waits(run_id: str) -> Waits:
    tried = {
        node: Tried(one.token, one.over, one.used, one.until_ms) for node, one in run_source.tried_steps(run_id).items()
    }
    return Waits(answers(run_id), run_source.parked_until(run_id), tried)


def _settled(run_id: str) -> Mapping[str, Adopted]:
    return {
        node: Adopted(step.state, step.token, step.outcome or {}, step.source, step.cache_key, opens=step.opened)
        for node, step in run_source.settled_steps(run_id).items()
        if step.state in TAKEN_OVER
    }
