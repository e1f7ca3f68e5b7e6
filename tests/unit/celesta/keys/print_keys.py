"""Prints the cache key of each step of `flow_of_keys` as JSON. Runs in any interpreter, without packages."""

import json
import sys
from pathlib import Path

from celesta.hashing import cache_components, cache_key
from celesta.loading import load_file
from celesta.spec import workflow_spec

FLOW = Path(__file__).with_name("flow_of_keys.py")


def keys() -> dict[str, str]:
    """Key by path, of the steps whose inputs are all constants."""
    spec, _ = workflow_spec(load_file(FLOW).find("keys"), file=str(FLOW))
    return {
        step["path"]: cache_key(
            cache_components(spec["tasks"][step["task"]], {name: one["value"] for name, one in step["inputs"].items()})
        )
        for step in spec["steps"]
    }


if __name__ == "__main__":
    json.dump(keys(), sys.stdout)
