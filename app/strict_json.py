"""JSON as its standard has it. Python's own parser takes NaN and infinities, which no other reads back from us.

Called where documents come from outside and may be kept: bodies of the REST interface, the record of an archive.
"""

import json
import math
from typing import Any


def loads(data: bytes) -> Any:
    """Raises `ValueError` for what is no JSON, and `RecursionError` for what is nested too deeply."""
    return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f'{text} is no number of JSON; an input that is none is named in a text: "nan", "inf", "-inf"')
