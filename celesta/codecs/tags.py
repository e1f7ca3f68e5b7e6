"""The vocabulary of stored values: the types of references, and the tags of the tagged form (contracts, section 2).

Constants. `tagged` reads and writes each tag, `form` knows what its body holds; what asks only which there are, or of
which kind a value is, looks here.
"""

APART = ("file", "directory", "ndarray", "table", "pickle")
"""Kinds of values that are no JSON, each a type of references: their bytes are in blobs of their own."""
REFERENCES = ("json", "list", *APART)
KIND_OF_TAG = {
    "f": "float",
    "b": "bytes",
    "t": "tuple",
    "d": "dict",
    "s": "set",
    "fs": "set",
    "dt": "datetime",
    "zdt": "datetime",
    "date": "date",
    "e": "enum",
    "o": "record",
    "new": "record",
    "ref": "any",
}
"""The kind of what has a tag; what has none is null, a boolean, an int, a text or a list."""
