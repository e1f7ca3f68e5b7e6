"""The DAG as data: what the SDK posts, the API stores and the compiler reads (contracts, section 4).

`validate` is the one set of pure checks, called by the SDK before it posts, by the API and by the compiler; it takes
any JSON and never raises. `spec_digest` is the version id.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from celesta.spec.checks import validate

Spec = dict[str, Any]

__all__ = ["Spec", "spec_digest", "validate"]


def spec_digest(spec: Spec) -> str:
    """The identity of a version: SHA-256 of the canonical spec without `git` and `doc`, which change no result."""
    kept = {key: value for key, value in spec.items() if key not in ("git", "doc")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
