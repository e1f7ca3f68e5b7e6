"""Whether JSON is the tagged form of a value: the one pure look at it, which imports no class of the user's.

Called where values come from outside, before anything else reads them: `celesta.codecs.verify` for launches, versions
and imports, `celesta.spec.shapes` for specs and results. What reads a tagged form afterwards takes its shape for
granted. Refuses nothing by itself, and does not look at references inside: those are for its callers to check.
"""

import base64
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from celesta.codecs.moments import split

_SCALARS = frozenset((str, int, bool, type(None)))


def formless(tagged: Any) -> str | None:
    """The first part that is no tagged form, cut for a message; None when all of it is one.

    Raises `RecursionError` for what is nested too deeply.
    """
    kind = type(tagged)
    if kind in _SCALARS:
        return None
    if kind is list:
        return _first(tagged)
    if kind is dict and len(tagged) == 1:
        ((tag, body),) = tagged.items()
        try:
            return _first(_PARTS[tag](body))
        except (KeyError, ValueError, TypeError, OverflowError):
            pass
    return f"{tagged!r:.80}"


def _first(parts: Iterable[Any]) -> str | None:
    for part in parts:
        if type(part) not in _SCALARS and (found := formless(part)) is not None:
            return found
    return None


def _whole(read: Callable[[Any], Any]) -> Callable[[Any], Iterable[Any]]:
    """Of a body that has no parts and can be read, or raises."""

    def parts(body: Any) -> Iterable[Any]:
        if type(body) is not str:
            raise TypeError(body)
        read(body)
        return ()

    return parts


def _listed(body: Any) -> Iterable[Any]:
    if type(body) is not list:
        raise TypeError(body)
    return body


def _pairs(body: Any) -> Iterable[Any]:
    if not all(type(pair) is list and len(pair) == 2 for pair in _listed(body)):
        raise TypeError(body)
    return (part for pair in body for part in pair)


def _member(body: Any) -> Iterable[Any]:
    class_name, name = body
    if type(body) is not list or type(class_name) is not str or type(name) is not str:
        raise TypeError(body)
    return ()


def _fields(body: Any) -> Iterable[Any]:
    class_name, fields = body
    if type(body) is not list or type(class_name) is not str or type(fields) is not dict:
        raise TypeError(body)
    return fields.values()


_PARTS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "f": _whole(float.fromhex),
    "b": _whole(lambda body: base64.b64decode(body, validate=True)),
    "t": _listed,
    "d": _pairs,
    "s": _listed,
    "fs": _listed,
    "dt": _whole(dt.datetime.fromisoformat),
    "zdt": _whole(split),
    "date": _whole(dt.date.fromisoformat),
    "e": _member,
    "o": _fields,
    "new": _fields,
    "ref": lambda body: (),
}
"""What a body holds, by its tag."""
