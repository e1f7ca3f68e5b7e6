"""The cache through the REST interface: why a step was computed, and what is kept or taken out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.cache import CacheStats, Entry, Evicted, Explanation
from app.db import db
from app.models import CacheEntry
from app.services import cache_evict
from app.services.cache_index import index_key
from celesta.cli.cache import lines_of
from celesta.hashing import cache_components, cache_key, canonical, digest_of
from tests.fixtures.playground import OPERATOR, Playground
from tests.integration.app.api.test_versions import bundle
from tests.unit.app.specs import CACHE, diamond

Document = dict[str, Any]


class Cached:
    """A project whose step `a` is cached, and whose runs compute it as the engine would tell."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self.changes: Document = {"source": "def a(x):\n    return x + 1\n", "cache": CACHE}
        self.bundle: str | None = None
        self.environment: str | None = None

    def register(self, **changes: Any) -> None:
        self.changes |= changes
        spec = diamond(bundle=self.bundle)
        spec["tasks"]["a"] |= self.changes
        self.task = spec["tasks"]["a"]
        self.playground.register(spec)

    def run(self, n: int = 3, state: str = "succeeded", at_ms: int | None = None, size: int = 0, **launch: Any) -> str:
        play = self.playground
        run = play.launch(inputs={"n": n}, **launch)
        play.start(run)
        ref = {"type": "json", **value(n)}
        components = cache_components(self.task, {"x": ref}, self.environment, {"cache": self.task["cache"]})
        key = cache_key(components)
        more: Document = {
            "cache_key": key,
            "components": components,
            "input_digests": {"x": ref["digest"]},
            "took_ms": 0,
        }
        if at_ms is not None:
            more["at_ms"] = at_ms
        if state == "failed":
            more["error"] = {"type": "ValueError", "message": "no", "kind": "user", "traceback": ""}
        else:
            more["outputs"] = {"result": "x" * size if size else n + 1}
        if state == "cached":
            more |= {"source": {"run": "r", "path": "a", "node": "3", "token": "1.1"}, "components": None}
        play.settle(run, "3", "a", state, **more)
        play.redis.hset(index_key("default"), key, json.dumps({"run": run}))
        return run

    def explain(self, run: str, step: str = "a") -> Document:
        found: Document = self.playground.get(f"runs/{run}/steps/{step}/cache")
        assert Explanation().validate(found) == {}
        return found

    def kept(self) -> list[str]:
        """The runs whose entries are recorded; the index holds the same keys."""
        with self.playground.app.app_context():
            rows = {row.key: row.run_id for row in db.session.query(CacheEntry)}
        assert {key.decode() for key in self.playground.redis.hkeys(index_key("default"))} == rows.keys()
        return sorted(rows.values())


def value(number: int) -> Document:
    return {"digest": digest_of(str(number).encode()), "size": 1, "inline": number}


@pytest.fixture
def cached(playground: Playground) -> Cached:
    made = Cached(playground)
    made.register()
    return made


def test_a_hit_names_the_step_that_answered(cached: Cached) -> None:
    cached.run()
    found = cached.explain(cached.run(state="cached"))
    assert (found["verdict"], found["source"]["run"]) == ("hit", "r")
    assert "a of run r" in found["reason"]


def test_the_first_result_of_a_task_had_nothing_to_come_near_to(cached: Cached) -> None:
    found = cached.explain(cached.run())
    assert (found["verdict"], found["nearest"]) == ("miss", None)
    assert found["components"]["task"] == "a"
    assert 'No result of task "a" was in the cache before' in found["reason"]


def test_a_miss_by_an_input_shows_both_values(cached: Cached) -> None:
    first = cached.run(3)
    found = cached.explain(cached.run(4))
    (change,) = found["nearest"]["differences"]
    assert found["nearest"]["run"] == first
    assert (change["component"], change["name"]) == ("input", "x")
    assert (change["from"]["preview"], change["to"]["preview"]) == ("3", "4")
    assert found["reason"] == f"The nearest earlier result, a of run {first}, differs in: input x."


def test_a_miss_by_code_shows_the_lines_that_differ(cached: Cached) -> None:
    cached.run()
    cached.register(source="def a(x):\n    return x + 2\n", code_digest="c" * 64)
    (change,) = cached.explain(cached.run())["nearest"]["differences"]
    assert change["component"] == "code"
    assert "-    return x + 1\n+    return x + 2" in change["diff"]


def test_a_miss_by_a_helper_shows_the_helpers_file(cached: Cached) -> None:
    cached.bundle = bundle(cached.playground, flow="pass\n", helper="RATE = 1\n")
    cached.register()
    cached.run()
    cached.bundle = bundle(cached.playground, flow="pass\n", helper="RATE = 2\n")
    cached.register(code_digest="c" * 64)
    (change,) = cached.explain(cached.run())["nearest"]["differences"]
    assert change["diff"] == ""
    assert [file["file"] for file in change["files"]] == ["helper.py"]
    assert "-RATE = 1\n+RATE = 2" in change["files"][0]["diff"]


def test_a_miss_by_the_environment_names_the_package(cached: Cached) -> None:
    cached.register(cache=CACHE | {"environment": True})
    for version in ("1.26.4", "2.0.0"):
        lock = {"python": "3.11.9", "platform": "linux-x86_64", "packages": {"numpy": version, "pandas": "2.1"}}
        cached.environment = cached.playground.store.put_blob(canonical(lock))
        run = cached.run()
    (change,) = cached.explain(run)["nearest"]["differences"]
    assert change["component"] == "environment"
    assert change["changes"] == [{"name": "numpy", "before": "1.26.4", "after": "2.0.0"}]
    assert "    numpy: 1.26.4 -> 2.0.0" in list(lines_of({"differences": [change]}))
    assert "numpy" in cached.playground.call("GET", f"/projects/default/runs/{run}/steps/3").text


def test_the_entry_with_the_fewest_differences_is_the_nearest(cached: Cached) -> None:
    near = cached.run(3)
    cached.register(env={"SEED": "1"}, code_digest="c" * 64)
    cached.run(5)
    cached.register(env={}, code_digest=digest_of(b"a"))
    found = cached.explain(cached.run(4))
    assert found["nearest"]["run"] == near


def test_a_step_of_a_refreshing_run_says_so(cached: Cached) -> None:
    cached.run()
    for refresh in (True, ["a"]):
        found = cached.explain(cached.run(options={"refresh": refresh}))
        assert (found["verdict"], "--refresh" in found["reason"]) == ("miss", True)


def test_a_result_past_its_lifetime_and_one_that_was_evicted_are_told_apart(cached: Cached) -> None:
    first = cached.run()
    cached.playground.call("POST", "cache/evict", {"run": first})
    assert "evicted, or its bytes were lost" in cached.explain(cached.run())["reason"]
    cached.register(cache=CACHE | {"ttl_seconds": 0.0001})
    assert "older than the 0.0001 s" in cached.explain(cached.run())["reason"]


def test_a_failed_step_is_explained_too_and_never_kept(cached: Cached) -> None:
    first = cached.run(3)
    failed = cached.run(4, state="failed")
    found = cached.explain(failed)
    assert (found["verdict"], found["nearest"]["run"]) == ("miss", first)
    with cached.playground.app.app_context():
        assert db.session.query(CacheEntry).count() == 1


def test_steps_that_were_not_asked_say_why(cached: Cached) -> None:
    play = cached.playground
    run = play.launch(inputs={"n": 1}, options={"no_cache": ["a"]})
    play.start(run)
    assert cached.explain(run)["verdict"] == "open"
    play.settle(run, "3", "a", "succeeded", outputs={"result": 2})
    play.settle(run, "1", "b", "succeeded", outputs={"result": 2})
    play.settle(run, "2", "c", "upstream_failed")
    assert "--no-cache" in cached.explain(run)["reason"]
    assert "@task(cache=True)" in cached.explain(run, "b")["reason"]
    assert "was not run" in cached.explain(run, "c")["reason"]
    assert play.call("GET", f"runs/{run}/steps/zz/cache").status == 404


def evict(cached: Cached, **body: Any) -> Document:
    answer = cached.playground.call("POST", "cache/evict", body)
    assert answer.status == 200, answer.text
    assert Evicted().validate(answer.json) == {}
    found: Document = answer.json
    return found


def test_what_a_preview_tells_is_what_an_eviction_takes(cached: Cached) -> None:
    runs = [cached.run(n) for n in (1, 2, 3)]
    told = evict(cached, run=runs[1], dry_run=True)
    assert (told["entries"], told["tasks"][0]["task"]) == (1, "a")
    assert cached.kept() == sorted(runs)
    assert evict(cached, run=runs[1]) == told | {"dry_run": False}
    assert cached.kept() == sorted([runs[0], runs[2]])
    assert evict(cached, run=runs[1])["entries"] == 0


def test_entries_are_evicted_by_task_age_and_size(cached: Cached) -> None:
    cached.run(1, at_ms=1_000_000)
    small, large = cached.run(2), cached.run(3, size=5_000)
    assert evict(cached, task="b", dry_run=True)["entries"] == 0
    assert evict(cached, task="a", dry_run=True)["entries"] == 3
    evict(cached, older_than_seconds=3_600)
    assert cached.kept() == sorted([small, large])
    evict(cached, task="a", larger_than_bytes=4_000)
    assert cached.kept() == [small]


def test_an_eviction_of_nothing_in_particular_is_refused(cached: Cached) -> None:
    run = cached.run()
    answer = cached.playground.call("POST", "cache/evict", {})
    assert answer.status == 422
    assert "by task, run, age or size" in answer.json["message"]
    assert cached.kept() == [run]
    assert evict(cached, all=True)["entries"] == 1


def test_a_pinned_entry_stays_and_its_newer_result_is_pinned_too(cached: Cached) -> None:
    run = cached.run()
    play = cached.playground
    pinned = play.call("PUT", f"runs/{run}/steps/a/cache/pin", {"pinned": True})
    assert Entry().validate(pinned.json) == {}
    assert evict(cached, all=True) | {"tasks": []} == {
        "entries": 0, "bytes": 0, "pinned": 1, "dry_run": False, "more": False, "tasks": [],
    }  # fmt: skip
    again = cached.run(options={"refresh": True})
    assert evict(cached, all=True)["pinned"] == 1
    assert cached.kept() == [again]
    assert play.get("cache/stats")["pinned"] == 1
    assert play.call("PUT", f"runs/{again}/steps/a/cache/pin", {"pinned": False}).status == 200
    assert evict(cached, all=True)["entries"] == 1
    missing = play.call("PUT", f"runs/{run}/steps/a/cache/pin", {"pinned": True})
    assert (missing.status, "cache explain" in missing.json["message"]) == (404, True)


def test_above_the_limit_what_was_used_least_recently_goes_first(cached: Cached) -> None:
    runs = [cached.run(n, size=3_000, at_ms=1_000 * (n + 1)) for n in range(4)]
    cached.run(0, state="cached", at_ms=900_000)
    play = cached.playground
    play.call("PUT", f"runs/{runs[1]}/steps/a/cache/pin", {"pinned": True})
    answer = play.call("PUT", "cache/limit", {"bytes": 9_500})
    assert CacheStats().validate(answer.json) == {}
    assert answer.json["limit_bytes"] == 9_500
    with play.app.app_context():
        assert cache_evict.enforce_limits(db.session, play.redis) == 1
        assert cache_evict.enforce_limits(db.session, play.redis) == 0
    assert cached.kept() == sorted([runs[0], runs[1], runs[3]])
    play.call("PUT", "cache/limit", {"bytes": None})
    with play.app.app_context():
        assert cache_evict.enforce_limits(db.session, play.redis) == 0


def test_without_redis_nothing_is_evicted(cached: Cached) -> None:
    run = cached.run()

    class Down:
        def hdel(self, *_: object) -> None:
            raise ConnectionError

    with cached.playground.app.app_context():
        project = cached.playground._project("default")
        wanted = cache_evict.Wanted(all=True)
        with pytest.raises(ConnectionError):
            cache_evict.evict(db.session, Down(), OPERATOR, project, wanted)
    assert cached.kept() == [run]


def test_a_viewer_may_ask_and_change_nothing(cached: Cached) -> None:
    run = cached.run()
    viewer = {"Authorization": f"Bearer {cached.playground.token('viewer')}"}
    editor = {"Authorization": f"Bearer {cached.playground.token('editor')}"}
    call = cached.playground.call
    assert call("GET", f"runs/{run}/steps/a/cache", **viewer).status == 200
    assert call("POST", "cache/evict", {"all": True}, **viewer).status == 403
    assert call("PUT", f"runs/{run}/steps/a/cache/pin", {"pinned": True}, **viewer).status == 403
    assert call("PUT", "cache/limit", {"bytes": 1}, **editor).status == 403
