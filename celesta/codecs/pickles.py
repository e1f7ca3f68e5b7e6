"""Pickle, for those who ask for it by type. Only a step ever unpickles.

Called by `celesta.codecs.values` where the type document says `pickle`. The digest is that of the bytes: it says that
two values were pickled alike, not that they are equal.
"""

import pickle
from pathlib import Path
from typing import Any

from celesta.codecs.tagged import Unstorable
from celesta.store.base import Store

_PROTOCOL = 5


def takes(value: Any) -> bool:
    """Any value may be tried."""
    return True


def encode(value: Any, store: Store) -> dict[str, Any]:
    """Pickles the value."""
    try:
        data = pickle.dumps(value, _PROTOCOL)
    except Exception as error:  # What a class's own __reduce__ raises can be anything.
        raise Unstorable(f"a {type(value).__name__} cannot be pickled: {error}") from error
    digest = store.put_blob(data)
    return {"type": "pickle", "digest": digest, "size": len(data), "blob": digest}


def decode(ref: dict[str, Any], store: Store, into: Path) -> Any:
    """Unpickles the value: runs code of whoever stored it."""
    return pickle.loads(store.get_blob(ref["blob"]))  # noqa: S301 - asked for by the task's type, inside a step
