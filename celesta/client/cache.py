"""The cache of a project, as methods of `celesta.client.Client`."""

from __future__ import annotations

from celesta.client.caller import Caller, Document


class Cache(Caller):
    def cache_stats(self) -> Document:
        return self._get("cache", "stats")

    def explain_cache(self, run_id: str, node: str) -> Document:
        """Why a step, by node or by path, was answered from the cache or was not."""
        return self._get("runs", run_id, "steps", node, "cache")

    def evict_cache(self, **wanted: object) -> Document:
        """`task`, `run`, `older_than_seconds`, `larger_than_bytes`, `all`, and `dry_run` to be told only."""
        return self._post(wanted, "cache", "evict")

    def pin_cache(self, run_id: str, node: str, pinned: bool) -> Document:
        return self._put({"pinned": pinned}, "runs", run_id, "steps", node, "cache", "pin")

    def limit_cache(self, limit_bytes: int | None) -> Document:
        return self._put({"bytes": limit_bytes}, "cache", "limit")
