"""The rights that the code uses are those that the roles of a project's namespace give, and no others."""

import time
from pathlib import Path

import pytest
import yaml

from tests.integration.kubernetes.conftest import Pods
from workers.engine import keys
from workers.engine.external import ended_elsewhere

ROLES = Path(__file__).parents[3] / "k8s" / "project" / "roles.yaml"
VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
Rights = set[tuple[str, str]]


def given(role: str) -> Rights:
    documents = yaml.safe_load_all(ROLES.read_text())
    (rules,) = [one["rules"] for one in documents if one["kind"] == "Role" and one["metadata"]["name"] == role]
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def used(pods: Pods, since: int = 0) -> Rights:
    """Of the requests so far, but for the first ones: resource and verb, as an API server judges them."""
    found = set()
    for request in list(pods.cluster.api._requests)[since:]:
        assert request.resource is not None
        resource = "/".join(filter(None, (request.resource.plural, request.subresource)))
        reads = "get" if request.name else "watch" if request.params.get("watch") else "list"
        found.add((str(resource), VERBS.get(request.method.value, reads)))
    return found


def test_a_worker_uses_the_rights_of_its_role(pods: Pods) -> None:
    pods.launch()
    pods.cluster.end(pods.cluster.names()[0])
    pods.executor.logs("r1", "0", "1.1")
    assert ended_elsewhere(pods.world.engine, "r1", [("0", "1.1")])  # it left no result: the cluster is asked
    pods.executor.cancel("r1", "0", "1.1")
    assert used(pods) == given("celesta-worker")


def test_watcher_and_reconciler_use_the_rights_of_their_role(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    pods.watcher = pods.new_watcher(keep_seconds=0.0)
    name = pods.launch()
    since = len(pods.cluster.api._requests)
    pods.silence()
    pods.cluster.status(name, phase="Running")
    pods.world.client.zadd(keys.LOGS_WANTED, {"r1|0|1.1": time.time() + 30})
    pods.until(lambda: pods.cluster.requests("GET", "follow"))
    pods.cluster.end(name, 4)
    pods.until(lambda: pods.cluster.names() == [])
    assert used(pods, since) == given("celesta-watcher")
