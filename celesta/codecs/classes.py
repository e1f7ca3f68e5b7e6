"""Classes of the user's inside values: enums, dataclasses, NamedTuples and pydantic models, known as "module:Class".

Called by `celesta.codecs.tagged`. What was an object comes back with the fields that it had, whatever its class would
make of them; what was given as JSON is for its class to make. A name is imported only here, only on the way back into
a step, and only a class of these four kinds is ever called: a reference cannot name `subprocess:Popen`. Refuses classes
that no one could import.
"""

import dataclasses
import enum
import functools
import importlib
import sys
from typing import Any

from celesta.errors import CodecError
from celesta.making import makes
from celesta.types import import_name

_INSTEAD = {
    "timedelta": ("datetime", "its total_seconds()"),
    "time": ("datetime", "its isoformat()"),
    "Decimal": ("decimal", "str(…) of it, or a float"),
    "UUID": ("uuid", "str(…) of it"),
    "complex": ("builtins", "a tuple of its real and imag"),
}
"""What to return instead of some values of the standard library, by the name of their class and its module."""
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
    """The object of this class that held these fields: where its code decides what they are, it is not asked again."""
    cls, kind = _record(name)
    own = makes(cls)
    if own and kind == "pydantic" and cls.model_config.get("extra") not in ("allow", "forbid"):
        fields = {field: item for field, item in fields.items() if field in cls.model_fields}
    value = (_made_again if own else _made)(name, cls, kind, fields)
    if own or kind == "dataclass":
        for field, item in fields.items():
            _set(value, kind, field, item)
    return value


def has_makers(name: str) -> bool:
    """Whether code of this class decides what its objects hold."""
    return makes(_record(name)[0])


def make(name: str, fields: dict[str, Any]) -> Any:
    """What this class makes of these fields."""
    cls, kind = _record(name)
    return _made(name, cls, kind, fields)


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
    if name in _INSTEAD and module == _INSTEAD[name][0]:
        return f"a {name} cannot be stored; return {_INSTEAD[name][1]}"
    if callable(value):
        return f"a {name} cannot be stored; return what it computes"
    full = name if module == "builtins" else f"{module}.{name}"
    return (
        f"a {full} cannot be stored; return JSON-able data, a dataclass, a table, an array or a File, or ask for pickle"
    )


def _record(name: str) -> tuple[Any, str]:
    cls = _load(name)
    kind = _kind(cls)
    if kind is None:
        raise CodecError(f"{name} is no longer a dataclass, a NamedTuple or a pydantic model; run the step again")
    return cls, kind


def _made(name: str, cls: Any, kind: str, fields: dict[str, Any]) -> Any:
    try:
        if kind == "pydantic":
            return cls.model_validate(fields, by_name=True, by_alias=False)
        late = {field.name for field in dataclasses.fields(cls) if not field.init} if kind == "dataclass" else ()
        return cls(**{field: item for field, item in fields.items() if field not in late})
    except (TypeError, ValueError) as error:
        raise CodecError(f"a stored {name} does not fit its class any more: {error}") from error


def _made_again(name: str, cls: Any, kind: str, fields: dict[str, Any]) -> Any:
    """An object by its class, which is called for what is no field, and may take other arguments or refuse what it has
    made of them before."""
    _refuse_others(name, cls, kind, fields)
    try:
        return _made(name, cls, kind, fields)
    except Exception:
        return _unmade(cls, kind, fields)


def _refuse_others(name: str, cls: Any, kind: str, fields: dict[str, Any]) -> None:
    """Whatever code a class has, its fields are to be those that were stored."""
    if kind == "pydantic":
        known = {*fields} if cls.model_config.get("extra") == "allow" else {*cls.model_fields}
        wanted = {field for field, info in cls.model_fields.items() if info.is_required()}
    else:
        all_of, none = dataclasses.fields(cls), dataclasses.MISSING
        known = {field.name for field in all_of}
        wanted = {field.name for field in all_of if field.init and field.default is none is field.default_factory}
    told = [f"{field} is no field of it" for field in fields if field not in known]
    told += [f"{field} is missing" for field in sorted(wanted - fields.keys())]
    if told:
        raise CodecError(f"a stored {name} does not fit its class any more: {'; '.join(told)}")


def _unmade(cls: Any, kind: str, fields: dict[str, Any]) -> Any:
    if kind == "pydantic":
        return cls.model_construct(**fields)
    value = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default_factory())
        elif field.default is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default)
    return value


def _set(value: Any, kind: str, field: str, item: Any) -> None:
    """Past what a class does when a field is set: it may be frozen, or validate."""
    if kind == "dataclass":
        object.__setattr__(value, field, item)
    elif field in type(value).model_fields:
        value.__dict__[field] = item
    else:
        value.__pydantic_extra__[field] = item


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
