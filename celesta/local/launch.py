"""`run_local`: the door to local runs, for the CLI and for notebooks."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celesta.answers import Answers
from celesta.errors import InputError, SpecError
from celesta.local.cache import Chosen, LocalCache, require_steps
from celesta.local.checks import complete_inputs, dynamic_paths, questions, require_local
from celesta.local.run import LocalRun, OnEvent, Run
from celesta.spec import validate
from celesta.store import Store
from celesta.store.local import LocalStore

Document = dict[str, Any]
Ref = dict[str, Any]


def local_store(home: str | os.PathLike[str]) -> LocalStore:
    """The store of local runs: where a spec's values and a run's inputs are put before `run_local`."""
    return LocalStore(Path(home) / "local" / "store")


def run_local(
    spec: Document,
    inputs: Mapping[str, Ref],
    home: str | os.PathLike[str],
    *,
    store: Store | None = None,
    no_cache: Chosen = False,
    refresh: Chosen = False,
    answers: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
) -> LocalRun:
    """Runs a workflow to its end; the modules of its tasks must be importable here.

    `inputs` are references in `store` (by default `local_store(home)`). `no_cache` neither asks nor fills the cache,
    `refresh` fills it only, for all steps or those of the given paths. `answers` are plain values for the steps that
    ask, by path; the others ask at the terminal, without a timeout, and where there is none nobody could answer.
    An answer below a dynamic step is known to be asked for, and by what, only when it is: see `LocalRun.not_asked`.
    `on_event` gets the events of the contracts. A failed step is a run that failed; what is wrong with the spec, the
    inputs or the answers raises `SpecError` or `InputError` before anything runs.
    """
    problems = validate(spec)
    if problems:
        raise SpecError("the workflow cannot run", problems)
    require_local(spec)
    store = store or local_store(home)
    answered = Answers(answers)
    if problems := answered.problems(questions(spec), dynamic_paths(spec), store):
        raise InputError("the run asks, and cannot be answered", problems)
    given = complete_inputs(spec, inputs)
    require_steps(spec, no_cache=no_cache, refresh=refresh)
    index = LocalCache(Path(home), store, no_cache, refresh)
    return Run(spec, given, store, index, Path(home), answered, on_event or _ignore).run()


def _ignore(event: Document) -> None:
    """For those who do not follow the run."""
