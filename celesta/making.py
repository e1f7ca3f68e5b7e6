"""Whether code of a class decides what its objects hold, so that these may be others than the class was given.

Called where type documents are made and where objects come back. Imports nothing of the user's: the class is at hand.
"""

import dataclasses
import functools
import re
from typing import Any

_CHANGES = re.compile(r"'type': 'function-|'custom_init': True|'(str_)?(strip_whitespace|to_lower|to_upper)': True")
"""What a schema of pydantic says where it has validators, or options that change texts."""
_UNCHANGING = ("BaseModel.model_post_init", "init_private_attributes")


@functools.cache
def makes(cls: Any) -> bool:
    """Whether a dataclass has a `__post_init__` or an `__init__` of its own, or a pydantic class changes what it is
    given. In doubt it does: that costs no more than a digest of its own for what is given as JSON."""
    if _CHANGES.search(str(getattr(cls, "__pydantic_core_schema__", ""))):
        return True
    if dataclasses.is_dataclass(cls):
        return hasattr(cls, "__post_init__") or not _is_generated(getattr(cls, "__init__"))  # noqa: B009
    after = getattr(cls, "model_post_init", None)
    return after is not None and after.__qualname__ not in _UNCHANGING


def _is_generated(init: Any) -> bool:
    """Of an `__init__`: whether `dataclasses` or pydantic wrote it."""
    code = getattr(init, "__code__", None)
    return code is not None and (code.co_filename == "<string>" or init.__module__.startswith("pydantic."))
