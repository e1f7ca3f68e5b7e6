"""Digests: how documents become bytes and bytes become names. Pure, and versioned by what it hashes.

Called by the codecs (digests of values), the SDK and the compiler (of specs and interfaces), the engine and local
runs (cache keys). A document here holds only null, booleans, integers, strings, arrays and objects: a float has no
one spelling in JSON, so it is refused (the tagged form of `celesta.codecs.tagged` spells it in hex).

What these functions return is stored in every database: a change is a new version, and golden tests pin the old.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celesta.errors import CodecError

KEY_VERSION = 1

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)


def digest_of(data: bytes) -> str:
    """Lower-case hex SHA-256: the digest form used everywhere."""
    return hashlib.sha256(data).hexdigest()


def canonical(document: Any) -> bytes:
    """The one JSON spelling of a document. Takes floats to be refused already (see `document_digest`)."""
    if type(document) is int:  # As the encoder spells it, without setting one up: steps pass on many integers.
        return int.__repr__(document).encode()
    return _encoder.encode(document).encode()


def document_digest(document: Any) -> str:
    """The digest of a document of plain data, whatever the order of its keys.

    Raises `CodecError` for what has no canonical form: floats, keys that are not strings, anything not JSON.
    """
    _refuse(document, "")
    return digest_of(canonical(document))


def list_digest(items: Iterable[Mapping[str, Any]]) -> str:
    """The digest of a list, from the references of its items: no item is loaded."""
    return digest_of(b"list\n" + "\n".join(f"{item['type']} {item['digest']}" for item in items).encode())


def interface_digest(interface: Mapping[str, Any]) -> str:
    """What of an interface makes cached results comparable: names and types. Not docs, and not defaults, whose values
    are among the inputs of a key."""
    return document_digest(
        {
            side: [{"name": port["name"], "type": _without_defaults(port["type"])} for port in interface[side]]
            for side in ("inputs", "outputs")
        }
    )


def cache_components(
    task: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, Any]],
    environment: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The key document of a step: all that decides whether an earlier result may stand for it.

    `task` is a task document, `inputs` the reference of each input, `environment` the digest of the environment (it
    counts only when the task asks for it), `options` the step's own `cache` and `env`, where it overrides the task's.
    An input counts by type and digest: the digest of a file is that of its bytes, which may be the JSON of a number.
    """
    options = options or {}
    cache = options.get("cache") or task.get("cache") or {}
    env = options["env"] if "env" in options else task.get("env")
    label, ignored = cache.get("version"), cache.get("ignore") or ()
    if cache.get("environment") and environment is None:
        raise CodecError(f'task "{task["name"]}" is cached by environment, and this place cannot tell its environment')
    return {
        "v": KEY_VERSION,
        "task": task["name"],
        "code": {"version": label} if label is not None else task["code_digest"],
        "interface": task.get("interface_digest") or interface_digest(task["interface"]),
        "environment": environment if cache.get("environment") else None,
        "env": dict(env or {}),
        "inputs": {name: [ref["type"], ref["digest"]] for name, ref in inputs.items() if name not in ignored},
    }


def cache_key(components: Mapping[str, Any]) -> str:
    """The cache key: the digest of the key document."""
    return digest_of(canonical(components))


def _without_defaults(doc: Any) -> Any:
    """A type document without the defaults of its fields, and with the floats of its literals spelled in hex."""
    if isinstance(doc, Mapping):
        return {key: _without_defaults(value) for key, value in doc.items() if key not in ("default", "doc")}
    if isinstance(doc, list | tuple):
        return [_without_defaults(item) for item in doc]
    return {"f": doc.hex()} if isinstance(doc, float) else doc


def _refuse(document: Any, where: str) -> None:
    if isinstance(document, Mapping):
        for key, value in document.items():
            if not isinstance(key, str):
                raise CodecError(f"a key of type {type(key).__name__} cannot be hashed; use strings", where)
            _refuse(value, f"{where}.{key}" if where else key)
    elif isinstance(document, list | tuple):
        for index, value in enumerate(document):
            _refuse(value, f"{where}[{index}]")
    elif document is not None and not isinstance(document, str | int):
        raise CodecError(f"a {type(document).__name__} cannot be hashed; use the tagged form of a value", where)


def key_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any, Any]]:
    """The components in which two keys differ, with both values; each input and each variable, by name, is one of its
    own."""
    for component in ("v", "task", "code", "interface", "environment"):
        if a.get(component) != b.get(component):
            yield component, None, a.get(component), b.get(component)
    for component in ("env", "inputs"):
        left, right = a.get(component) or {}, b.get(component) or {}
        for name in [*left, *(name for name in right if name not in left)]:
            if left.get(name) != right.get(name):
                yield component.removesuffix("s"), name, left.get(name), right.get(name)
