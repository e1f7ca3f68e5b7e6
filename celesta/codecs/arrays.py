"""numpy arrays as .npy bytes, never with pickled objects inside.

Called by `celesta.codecs.values`. The digest is logical: dtype, shape and the elements in C order, so that the order in
memory and the header of a numpy version do not change it. Refuses arrays of objects, masked arrays and other
subclasses, which .npy would silently turn into something else.
"""

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from celesta.codecs.tagged import Unstorable
from celesta.store.base import CHUNK_BYTES, Store

_IN_MEMORY_BYTES = 4 << 20


def takes(value: Any) -> bool:
    """Whether the value is an array (not one of numpy's scalars, which are numbers)."""
    return isinstance(value, np.ndarray)


def encode(value: "np.ndarray[Any, Any]", store: Store) -> dict[str, Any]:
    """Stores the array; a large one goes through a temporary file."""
    array = _storable(value)
    if array.nbytes <= _IN_MEMORY_BYTES:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        blob, size = store.put_blob(buffer.getvalue()), buffer.tell()
    else:
        with tempfile.NamedTemporaryFile(suffix=".npy") as stream:
            np.lib.format.write_array(stream, array, allow_pickle=False)
            stream.flush()
            blob, size = store.put_blob_file(stream.name)
    return {
        "type": "ndarray",
        "digest": _digest(array),
        "size": size,
        "blob": blob,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
    }


def decode(ref: dict[str, Any], store: Store, into: Path) -> "np.ndarray[Any, Any]":
    """The array, the caller's own to change."""
    if ref["size"] <= _IN_MEMORY_BYTES:
        return _read(io.BytesIO(store.get_blob(ref["blob"])))
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as folder:
        path = Path(folder, "array.npy")
        store.fetch_blob(ref["blob"], path)
        with path.open("rb") as stream:
            return _read(stream)


def _storable(value: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    if type(value) not in (np.ndarray, np.memmap):
        raise Unstorable(f"a {type(value).__name__} cannot be stored as it is; return numpy.asarray(…) of it")
    if value.dtype.hasobject or value.dtype.kind == "T":
        raise Unstorable(
            f"an array of dtype {value.dtype} cannot be stored; give it a dtype of fixed size, or return a list"
        )
    return np.asarray(value, order="C")


def _digest(array: "np.ndarray[Any, Any]") -> str:
    description = [np.lib.format.dtype_to_descr(array.dtype), array.shape]
    seen = hashlib.sha256(b"ndarray\n" + json.dumps(description).encode() + b"\n")
    flat = array.reshape(-1).view(np.uint8) if array.size and array.itemsize else np.empty(0, np.uint8)
    for start in range(0, len(flat), CHUNK_BYTES):
        seen.update(flat[start : start + CHUNK_BYTES].data)
    return seen.hexdigest()


def _read(stream: IO[bytes]) -> "np.ndarray[Any, Any]":
    return np.lib.format.read_array(stream, allow_pickle=False)
