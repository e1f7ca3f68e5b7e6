"""What a function takes and gives, read from its signature once, when it is decorated.

Called by `@task` and `@workflow`; tracing binds calls against it, and the spec carries its document. Refuses what
cannot be named in a spec (`*args`, positional-only parameters), hints that cannot be stored, and defaults that do not
fit their own hint: all at once, with file and line of the function.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from celesta.errors import Problem, SpecError
from celesta.frames import place_of
from celesta.types import TypeDoc, check, record_fields, resolved_hints, type_of

REQUIRED: Any = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Parameter:
    """One input. `default` is the Python value, `REQUIRED` when there is none."""

    name: str
    type: TypeDoc
    default: Any = REQUIRED
    doc: str = ""
    by_position: bool = True

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs by name. `record` is the NamedTuple or dataclass whose fields the outputs are."""

    inputs: dict[str, Parameter]
    outputs: dict[str, TypeDoc]
    record: type | None = None
    returns_hinted: bool = True

    def document(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The interface as the spec has it; `defaults` are the references of the default values."""
        inputs = []
        for parameter in self.inputs.values():
            one: dict[str, Any] = {"name": parameter.name, "type": parameter.type, "required": parameter.required}
            if parameter.name in defaults:
                one["default"] = defaults[parameter.name]
            if parameter.doc:
                one["doc"] = parameter.doc
            inputs.append(one)
        return {"inputs": inputs, "outputs": [{"name": name, "type": doc} for name, doc in self.outputs.items()]}

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """The given arguments by name, without defaults, and all that is wrong with their names and number."""
        by_position = [name for name, parameter in self.inputs.items() if parameter.by_position]
        problems = [Problem(name, "is given twice") for name in by_position[: len(args)] if name in kwargs] + [
            Problem(name, self._unknown()) for name in kwargs if name not in self.inputs
        ]
        if len(args) > len(by_position):
            problems.append(Problem("", f"{len(args)} positional arguments are given; {self._unknown()}"))
        bound = dict(zip(by_position, args, strict=False)) | dict(kwargs)
        for name, parameter in self.inputs.items():
            if parameter.required and name not in bound:
                problems.append(Problem(name, "is missing"))
        return bound, problems

    def _unknown(self) -> str:
        return f"there is no such input; inputs are: {', '.join(self.inputs) or 'none'}"


def interface_of(function: Callable[..., Any], what: str) -> Interface:
    """Reads a signature. `what` names the function in messages, such as `task "train"`."""
    try:
        hints = resolved_hints(function)
    except SpecError as error:
        raise SpecError(f"{place_of(function)}: {what}: {error}") from error
    problems: list[Problem] = []
    inputs: dict[str, Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        try:
            inputs[parameter.name] = _parameter(parameter, hints.get(parameter.name, Any))
        except SpecError as error:
            problems += [Problem(problem.where or parameter.name, problem.message) for problem in error.problems]
    outputs: dict[str, TypeDoc] = {}
    record: type | None = None
    try:
        outputs, record = _outputs(hints.get("return", Any))
    except SpecError as error:
        problems.append(Problem("return", str(error)))
    if problems:
        raise SpecError(f"{place_of(function)}: {what} has a signature that cannot run", problems)
    return Interface(inputs, outputs, record, "return" in hints)


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    if parameter.kind not in _NAMED:
        raise SpecError(
            "every input has a name: *args, **kwargs and positional-only parameters cannot be passed to a step"
        )
    doc = type_of(hint)
    if parameter.default is not REQUIRED and (wrong := check(parameter.default, doc, parameter.name)):
        advice = "; write `... | None`" if parameter.default is None else ""
        raise SpecError([Problem(p.where, f"the default does not fit its hint: {p.message}{advice}") for p in wrong])
    notes = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    text = next((note for note in notes if isinstance(note, str) and note != "pickle"), "")
    by_position = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    return Parameter(parameter.name, doc, parameter.default, text, by_position)


def _outputs(hint: Any) -> tuple[dict[str, TypeDoc], type | None]:
    if hint is None or hint is type(None):
        return {}, None
    fields = record_fields(hint) if isinstance(hint, type) else None
    if fields is None or fields[0] == "pydantic":
        return {"result": type_of(hint)}, None
    return {name: type_of(inner) for name, inner, _ in fields[1]}, hint
