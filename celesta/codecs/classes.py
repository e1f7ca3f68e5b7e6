"""Classes of the user's inside values: enums, dataclasses, NamedTuples and pydantic models, known as "module:Class".

Called by `celesta.codecs.tagged`. A name is imported only here, only on the way back into a step, and only a class of
these four kinds is ever called: a reference cannot name `subprocess:Popen`. Refuses classes that no one could import.
"""

import dataclasses
import enum
import functools
import importlib
import sys
from typing import Any

from celesta.errors import CodecError
from celesta.types import import_name

KINDS = ("dataclass", "pydantic", "namedtuple")


def is_enum(value: Any) -> bool:
    """Whether the value is a member of an enum."""
    return isinstance(value, enum.Enum)


def is_object(value: Any) -> bool:
    """Whether the value is a dataclass, a NamedTuple or a pydantic model."""
    return not isinstance(value, type) and _kind(type(value)) is not None


def is_numpy_scalar(value: Any) -> bool:
    """Whether the value is a numpy number, without importing numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an object by name."""
    kind = _kind(type(value))
    if kind == "namedtuple":
        return dict(zip(value._fields, value, strict=True))
    if kind == "pydantic":
        return {name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {})
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def name_of(cls: type) -> str:
    """The class as "module:Class"; refuses one that is not at the top of a module."""
    if "<locals>" in cls.__qualname__:
        raise CodecError(f"class {cls.__qualname__} is defined inside a function; define it at the top of a module")
    return import_name(cls) if cls.__module__ == "__main__" else f"{cls.__module__}:{cls.__qualname__}"


def build(name: str, fields: dict[str, Any]) -> Any:
    """The object of this class with these fields."""
    cls = _load(name)
    kind = _kind(cls)
    if kind is None:
        raise CodecError(f"{name} is no longer a dataclass, a NamedTuple or a pydantic model; run the step again")
    try:
        if kind == "pydantic":
            return cls.model_validate(fields, by_name=True, by_alias=False)
        return _build_dataclass(cls, fields) if kind == "dataclass" else cls(**fields)
    except (TypeError, ValueError) as error:
        raise CodecError(f"a stored {name} does not fit its class any more: {error}") from error


def member(name: str, key: str) -> enum.Enum:
    """The member of this enum."""
    cls = _load(name)
    if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
        raise CodecError(f"{name} is no longer an enum; run the step again")
    if key not in cls.__members__:
        raise CodecError(f"enum {name} has no member {key} any more; it has {', '.join(cls.__members__)}")
    return cls[key]


def refusal(value: Any) -> str:
    """Why this value cannot be stored, and what to do."""
    name = type(value).__name__
    module = type(value).__module__
    if module.startswith("pathlib"):
        return f"a path cannot be stored, since it means nothing elsewhere; return File({str(value)!r})"
    if name in ("generator", "coroutine", "async_generator"):
        return f"a {name} cannot be stored; return a list"
    if callable(value):
        return f"a {name} cannot be stored; return what it computes"
    full = name if module == "builtins" else f"{module}.{name}"
    return (
        f"a {full} cannot be stored; return JSON-able data, a dataclass, a table, an array or a File, or ask for pickle"
    )


def _build_dataclass(cls: Any, fields: dict[str, Any]) -> Any:
    late = {field.name for field in dataclasses.fields(cls) if not field.init}
    value = cls(**{name: item for name, item in fields.items() if name not in late})
    for name in late & fields.keys():
        object.__setattr__(value, name, fields[name])
    return value


def _kind(cls: type) -> str | None:
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return "pydantic"
    return None


def _load(name: str) -> Any:
    module, _, qualname = name.partition(":")
    try:
        return _of_script(name) or functools.reduce(getattr, qualname.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise CodecError(f"class {name} of a stored value cannot be imported: {error}") from error


def _of_script(name: str) -> Any:
    """A class of the script that runs: importing its file would make the class a second time."""
    found = sys.modules["__main__"]
    for part in name.partition(":")[2].split("."):
        found = getattr(found, part, None)  # type: ignore[assignment]
    ours = getattr(found, "__module__", None) == "__main__" and import_name(found) == name
    return found if ours else None
