"""Bindings of a spec turned into bindings of a plan: other steps are named by index instead of by path."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def resolve(binding: Document, index_of: Mapping[str, int], parents: set[int]) -> Document:
    """The plan's form of one binding; the steps that it names are added to `parents`."""
    path = binding.get("step")
    if path is not None:
        index = index_of[path]
        parents.add(index)
        return {"step": index, "output": binding["output"]}
    if "list" in binding:
        return {"list": [resolve(part, index_of, parents) for part in binding["list"]]}
    if "dict" in binding:
        return {"dict": {key: resolve(part, index_of, parents) for key, part in binding["dict"].items()}}
    return binding
