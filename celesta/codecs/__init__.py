"""Values as references: what stands for a value in specs, plans, manifests, Redis, the database and the API.

One module per kind of value. Importing this package imports the standard library only; numpy, pandas, pyarrow and
pydantic come in with the first value that needs them.
"""

from celesta.codecs.differ import difference
from celesta.codecs.intake import Stored, from_plain
from celesta.codecs.lists import items, make_list, one_length
from celesta.codecs.plain import preview, shown, to_plain
from celesta.codecs.presence import gone
from celesta.codecs.reach import blobs
from celesta.codecs.values import decode, encode, make_dict, none_ref
from celesta.codecs.verify import verify

__all__ = [
    "Stored",
    "blobs",
    "decode",
    "difference",
    "encode",
    "from_plain",
    "gone",
    "items",
    "make_dict",
    "make_list",
    "none_ref",
    "one_length",
    "preview",
    "shown",
    "to_plain",
    "verify",
]
