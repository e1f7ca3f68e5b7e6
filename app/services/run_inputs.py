"""The inputs of a launch, made references: plain JSON by the workflow's interface, references as they come, defaults.

Refuses with all problems at once, before anything of the run is written.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.services.refs import misfit
from celesta.codecs import from_plain, verify
from celesta.errors import InputError, Problem
from celesta.nearest import nearest
from celesta.store import Store

Document = dict[str, Any]
OPTIONS = ("no_cache", "refresh")
NUMBERS = {"priority": (-10, 10), "max_parallel": (1, 100_000)}
RUN_OPTIONS = (*OPTIONS, *NUMBERS)


def bind_inputs(
    interface: Document,
    inputs: Mapping[str, Any],
    input_refs: Mapping[str, Any],
    options: Mapping[str, Any],
    store: Store,
) -> Document:
    """A reference for each input of the interface. Raises `InputError`."""
    ports = {port["name"]: port for port in interface["inputs"]}
    problems = [*_unknown(ports, [*inputs, *input_refs]), *wrong_options(options)]
    bound: Document = {}
    for name, port in ports.items():
        try:
            bound[name] = _bind(port, inputs, input_refs, store)
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError("the run cannot start", problems)
    return bound


def _bind(port: Document, inputs: Mapping[str, Any], input_refs: Mapping[str, Any], store: Store) -> Document:
    name = port["name"]
    if name in inputs and name in input_refs:
        raise InputError([Problem(name, "is given twice, as a value and as a reference")])
    if name in inputs:
        return from_plain(inputs[name], port["type"], store, name)
    if name in input_refs:
        ref: Document = input_refs[name]
        problems = list(_wrong_ref(ref, port, store))
        if problems:
            raise InputError(problems)
        return ref
    default: Document | None = port.get("default")
    if default is None:
        raise InputError([Problem(name, "is missing, and has no default")])
    return default


def _wrong_ref(ref: Any, port: Document, store: Store) -> Iterator[Problem]:
    yield from verify(ref, store, port["name"])
    reason = misfit(ref, port["type"]) if isinstance(ref, dict) and "type" in ref else None
    if reason:
        yield Problem(port["name"], reason)


def _unknown(ports: Mapping[str, Any], given: list[str]) -> Iterator[Problem]:
    for name in dict.fromkeys(given):
        if name not in ports:
            yield Problem(name, f"is no input of this workflow; {nearest(name, ports, 'the inputs are')}")


def wrong_options(options: Mapping[str, Any]) -> Iterator[Problem]:
    """What is no option of a run, or has no value that one may have."""
    for name, value in options.items():
        if name not in RUN_OPTIONS:
            yield Problem(f"options.{name}", f"is no option of a run; there are {', '.join(RUN_OPTIONS)}")
        elif name in NUMBERS:
            least, most = NUMBERS[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                yield Problem(f"options.{name}", f"{value!r} is not a whole number from {least} to {most}")
        elif not isinstance(value, bool) and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            yield Problem(f"options.{name}", "wants true or false, or a list of steps")


def require_steps(options: Mapping[str, Any], paths: Iterable[str]) -> None:
    """Refuses options for steps that the plan does not have. Of a step inside of another the outer one has to exist."""
    known = dict.fromkeys(paths)
    problems = [
        Problem(f"options.{option}", f'there is no step "{step}"; {nearest(step, known)}')
        for option, chosen in options.items()
        for step in (chosen if isinstance(chosen, list) else ())
        if step not in known and step.partition("/")[0] not in known
    ]
    if problems:
        raise InputError("the run cannot start", problems)
