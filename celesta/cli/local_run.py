"""`celesta run … --local`: the same run in this process, with a store and a cache of its own in CELESTA_HOME."""

from __future__ import annotations

from typing import Any

from celesta.answers import Typed
from celesta.cli.output import say
from celesta.cli.source import Traced, stdout_on_stderr
from celesta.errors import InputError, Problem

Document = dict[str, Any]


def run_here(traced: Traced, values: Document, options: Document) -> None:
    """Run to the end and print it; raises `RunFailed` as a run on a server does."""
    from celesta.cli.launch import steps_of
    from celesta.cli.result import finish, tell_traceback
    from celesta.local import local_store, run_local
    from celesta.settings import Settings, make_home

    (spec, blobs), home = traced, Settings.from_env().home
    make_home(home, "local")
    store = local_store(home)
    store.sweep()
    for data in blobs.values():
        store.put_blob(data)
    refs = references(values, spec["interface"], store)
    answers = read_answers(options["answers"])

    def follow(event: Document) -> None:
        if event["kind"] == "step.retry":
            say(f"{event['path']} is tried again ({event['reason']})")

    with stdout_on_stderr():
        chosen = {name: steps_of(options[name]) for name in ("no_cache", "refresh")}
        ended = run_local(spec, refs, home, store=store, answers=answers, on_event=follow, **chosen)
    for name in ended.not_asked:
        say(f"the answer {name} was not used: no step of this name has asked")
    run = ended.document()
    run["log"] = (run["log"] or "").removeprefix("file://")
    tell_traceback(run["error"])
    finish(run, options["as_json"])


def read_answers(pairs: tuple[str, ...]) -> Document:
    """`NAME=VALUE` by name; what a value means, the type that is asked for says. Raises `InputError`."""
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise InputError([Problem("--answer", f"{pair!r} is not NAME=VALUE") for pair in wrong])
    return {name: Typed(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def references(values: Document, interface: Document, store: Any) -> Document:
    """All inputs as references. Raises `InputError` with every problem."""
    from celesta.cli.values import split
    from celesta.codecs import from_plain

    types = {given["name"]: given["type"] for given in interface["inputs"]}
    plain, refs = split(values, interface, store)
    problems: list[Problem] = []
    for name, value in plain.items():
        try:
            refs[name] = from_plain(value, types[name], store, name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError("the inputs are not right", problems=problems)
    return refs
