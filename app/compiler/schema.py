"""The one gate through which specs come in: the form of the envelope first, then `celesta.spec.validate`.

The schemas also describe a spec in the OpenAPI document. They refuse unknown fields, since a misspelt option must not
be lost; what is inside the fields is for `celesta.spec.validate` to say. Steps have one field for all of them: a schema
of their own would take a second for 10,000.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from celesta.errors import Problem, SpecError
from celesta.spec import validate as spec_problems

Document = dict[str, Any]
MOST_STEPS = 200_000
STEP_FIELDS = frozenset(
    (
        "path",
        "task",
        "inputs",
        "map",
        "after",
        "options",
        "guard",
        "branch",
        "merge",
        "outputs",
        "reference",
        "on_failure",
    )
)


class _Strict(Schema):
    class Meta:
        unknown = RAISE


def _object(**options: Any) -> fields.Dict:
    return fields.Dict(keys=fields.String(), **options)


class TaskSchema(_Strict):
    """One task of a spec (contracts, section 4)."""

    name = fields.String(required=True)
    kind = fields.String(required=True)
    entrypoint = fields.String(required=True, allow_none=True)
    command = fields.List(fields.String())
    code_digest = fields.String(required=True)
    interface = _object(required=True)
    doc = fields.String(allow_none=True)
    source = fields.String(allow_none=True)
    cache = _object(required=True, allow_none=True)
    retry = _object(required=True)
    timeout_seconds = fields.Float(required=True, allow_none=True)
    resources = _object(required=True)
    env = _object(required=True)
    secrets = fields.List(fields.String(), required=True)
    executor = fields.String(required=True, allow_none=True)
    image = fields.String(required=True, allow_none=True)
    labels = _object(required=True)
    pod_template = _object(allow_none=True)
    interruptible = fields.Boolean(allow_none=True)
    limits = fields.List(fields.String())
    concurrency = fields.Integer(strict=True)
    bundle = fields.String(allow_none=True)


class Steps(fields.Field[list[Document]]):
    """All steps in one pass."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> list[Document]:
        if not isinstance(value, list) or not 0 < len(value) <= MOST_STEPS:
            raise ValidationError(f"is not a list of 1 to {MOST_STEPS} steps")
        for index, step in enumerate(value):
            unknown = step.keys() - STEP_FIELDS if isinstance(step, dict) else ()
            if unknown:
                raise ValidationError({str(index): {name: ["Unknown field."] for name in sorted(unknown)}})
        return value


class EnvironmentSchema(_Strict):
    """Where the version was registered from: Python, and the version of each installed package."""

    python = fields.String()
    platform = fields.String()
    packages = _object(values=fields.String())


class SpecSchema(_Strict):
    """The envelope of a spec (contracts, section 4)."""

    celesta = fields.Integer(required=True, strict=True)
    name = fields.String(required=True, validate=validate.Length(1, 200))
    doc = fields.String(allow_none=True)
    interface = _object(required=True)
    bundle = fields.String(required=True, allow_none=True)
    python = fields.String(allow_none=True)
    git = _object(allow_none=True)
    environment = fields.Nested(EnvironmentSchema, allow_none=True)
    tasks = _object(values=fields.Nested(TaskSchema), required=True)
    steps = Steps(required=True, metadata={"type": "array", "items": {"type": "object"}})
    outputs = _object(required=True)
    timeout_seconds = fields.Float()
    policy = fields.String()
    max_parallel = fields.Integer(strict=True)
    references = _object()


_schema = SpecSchema()


def load_spec(document: Any) -> Document:
    """The same document, when a workflow can run by it. Raises `SpecError` with all problems."""
    if not isinstance(document, dict):
        raise SpecError("the spec cannot run", [Problem("", "a spec is an object")])
    problems = list(_flat(_schema.validate(document))) or spec_problems(document)
    if problems:
        raise SpecError("the spec cannot run", problems)
    return document


def _flat(messages: Any, where: str = "") -> Iterator[Problem]:
    """Marshmallow's nested messages as problems with a path; "key" and "value" of a map are no part of it."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            inside_map = where.startswith("tasks.") and where.count(".") == 1 and name in ("key", "value")
            yield from _flat(inner, where if inside_map else f"{where}.{name}".lstrip("."))
    else:
        for message in messages:
            yield Problem(where, str(message))
