"""What a step has measured so far, while it runs: read from Redis, since the record gets it with the result.

Called where one step is shown. Owns the name of the list, which the workers fill.
"""

import json
from typing import Any

import redis

from app import redis_names
from app.events import hub

Document = dict[str, Any]
MOST = 10_000


def with_live_metrics(run_id: str, document: Document) -> Document:
    """A step's document, with its metrics so far when it runs. Without Redis it is as it was."""
    attempt = next((one for one in document["attempts"] if one["state"] == "running"), None)
    if document["state"] != "running" or document["metrics"] or attempt is None:
        return document
    try:
        found = hub().redis.lrange(redis_names.live_metrics(run_id, document["node"], attempt["token"]), 0, MOST)
    except redis.RedisError:
        return document
    return document | {"metrics": [json.loads(text) for text in found]}
