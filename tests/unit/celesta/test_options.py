"""Options of a task: what they become in a spec, and what is said of wrong ones."""

from typing import Any

import pytest

from celesta.errors import SpecError
from celesta.options import (
    DEFAULTS,
    Cache,
    Resources,
    Retry,
    read_options,
    read_run_options,
)
from celesta.spec.options import _retry


@pytest.mark.parametrize("cpu", [0, pytest.param(10**400, id="vast")])
def test_all_problems_of_resources_are_told_at_once(cpu: int) -> None:
    with pytest.raises(SpecError) as caught:
        Resources(cpu=cpu, memory="much", gpu=-1)
    assert [p.where for p in caught.value.problems] == ["cpu", "memory", "gpu"]
    assert '"2Gi"' in str(caught.value)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda: Retry(max=-1, backoff="soon", factor=0.5), ["max", "backoff", "factor"]),
        (lambda: Cache(version="", ignore="seed", environment=1, ttl=0, scope="world"),
         ["version", "ignore", "environment", "ttl", "scope"]),
    ],
)  # fmt: skip
def test_each_wrong_field_is_named(make: Any, fields: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert [p.where for p in caught.value.problems] == fields


@pytest.mark.parametrize(
    ("given", "version"), [(True, None), ("v3", "v3"), (Cache(version="v3"), "v3"), (Cache(ttl="1h"), None)]
)
def test_cache_is_true_a_version_or_a_cache(given: Any, version: str | None) -> None:
    assert read_options({"cache": given}, "task")["cache"]["version"] == version


def test_no_cache_is_null() -> None:
    assert read_options({"cache": False}, "task") == {"cache": None}


def test_options_become_their_part_of_the_task_document() -> None:
    document = read_options(
        {"retries": 2, "timeout": "10m", "resources": Resources(cpu=2, memory="1Gi"), "secrets": ["B", "A"]}, "task"
    )
    assert document == {
        "retry": {"max": 2, "backoff_seconds": 1.0, "factor": 2.0},
        "timeout_seconds": 600.0,
        "resources": {"cpu": 2.0, "memory_bytes": 1 << 30, "gpu": 0},
        "secrets": ["A", "B"],
    }
    assert document.keys() <= DEFAULTS.keys()


def test_every_wrong_option_is_told_with_what_to_write() -> None:
    with pytest.raises(SpecError) as caught:
        read_options({"cache": 3, "retrys": 1, "timeout": -1, "env": {"A": 1}, "resources": 4,
                      "secrets": ["CELESTA_SECRET_KEY"]}, 'task "train"')  # fmt: skip
    told = {p.where: p.message for p in caught.value.problems}
    assert told.keys() == {"cache", "retrys", "timeout", "env", "resources", "secrets"}
    assert 'did you mean "retries"?' in told["retrys"]
    assert "Resources(cpu=1" in told["resources"]


def test_a_retry_writes_only_what_is_not_as_by_default() -> None:
    policy = Retry(3, backoff="2s", jitter=0.5, on=(OSError, "HTTPError"), timeout=0, memory_factor=2)
    assert policy.document() == {
        "max": 3,
        "backoff_seconds": 2.0,
        "factor": 2.0,
        "jitter": 0.5,
        "on": ["HTTPError", "OSError"],
        "timeout": 0,
        "memory_factor": 2.0,
    }
    assert _retry(policy.document())


def test_all_that_is_wrong_with_a_retry_is_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        Retry(2000, factor=0, jitter=2, on=3, system=None, timeout=-1, out_of_memory="1", memory_factor=0.5)  # type: ignore[arg-type]
    told = {problem.where: problem.message for problem in caught.value.problems}
    assert told.keys() == {
        "max", "factor", "jitter", "on", "system", "timeout", "out_of_memory", "memory_factor"
    }  # fmt: skip
    assert "from 0 to 1000" in told["max"]
    assert "(OSError," in told["on"]


def test_what_a_workflow_says_of_its_runs_is_checked() -> None:
    assert read_run_options({"timeout": "2h", "policy": "fail_fast"}, "flow") == {
        "timeout_seconds": 7200.0,
        "policy": "fail_fast",
    }
    with pytest.raises(SpecError) as caught:
        read_run_options({"timeout": -1, "policy": "stop", "timeot": 3}, "flow")
    told = {problem.where: problem.message for problem in caught.value.problems}
    assert told.keys() == {"timeout", "policy", "timeot"}
    assert 'did you mean "timeout"?' in told["timeot"]


# Pods


def test_disk_is_asked_for_only_by_those_who_do() -> None:
    assert "storage_bytes" not in Resources().document()
    assert Resources(storage="10Gi").document()["storage_bytes"] == 10 << 30
    with pytest.raises(SpecError, match="storage: 'lots' is no size"):
        Resources(storage="lots")


def test_a_pod_template_and_interruptible_are_given_or_left_out() -> None:
    assert not {"pod_template", "interruptible"} & DEFAULTS.keys()
    template = {"spec": {"nodeSelector": {"disk": "ssd"}}}
    assert read_options({"pod_template": template, "interruptible": True}, "it") == {
        "pod_template": template,
        "interruptible": True,
    }


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ([1], "an object with metadata and spec"),
        ({"kind": "Deployment"}, "a pod is wanted"),
        ({"spec": {"containers": [{"name": "step", "resources": {"limits": {"cpu": "lots"}}}]}}, "is no quantity"),
    ],
)
def test_a_template_that_is_no_pod_is_refused_where_it_is_written(template: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_options({"pod_template": template}, "it")


def test_interruptible_is_yes_or_no() -> None:
    with pytest.raises(SpecError, match="'maybe' is not True or False"):
        read_options({"interruptible": "maybe"}, "it")
