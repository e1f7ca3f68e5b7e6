"""What holds in a cluster that only seems to be one holds in a real one: the same tests, and the digits example."""

from datetime import UTC, datetime, timedelta

import pytest

from app.cluster_config import ClusterConfig
from tests.e2e.test_kubernetes import (  # noqa: F401  (tests, run here with another cluster)
    DIGITS,
    PodStack,
    last_error,
    test_a_cancelled_run_leaves_no_pod,
    test_a_pod_that_ends_while_no_watcher_lives_counts_once,
    test_a_pod_that_is_taken_away_is_launched_again,
    test_a_step_that_was_cached_is_no_pod,
    test_python_and_commands_run_in_pods_of_nothing_but_their_images,
    test_secrets_are_read_where_the_step_runs,
    test_what_fails_in_a_pod_fails_as_anywhere_else,
)
from tests.fixtures.processes import wait_until
from workers.executors.kubernetes.causes import stuck

pytestmark = pytest.mark.timeout(900)  # images are pulled, and nodes may have to come


def test_the_digits_example_runs_in_the_cluster(pod_stack: PodStack) -> None:
    ran = pod_stack.stack.cli("run", DIGITS, "digits", "--wait", "--json", status=None, timeout=600)
    if "No module named" in ran.stderr + ran.stdout:
        pytest.skip("CELESTA_TEST_IMAGE has no scikit-learn, pandas and numpy in it")
    assert ran.returncode == 0, ran.stderr


def test_a_gpu_that_no_node_has_is_told_with_the_schedulers_words(pod_stack: PodStack) -> None:
    """Of a pod that waits; how one is given up after a while is tested without a cluster."""
    api = pod_stack.cluster.client  # type: ignore[attr-defined]
    limits = {"example.com/no-such-device": "1"}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "step", "image": "i", "resources": {"limits": limits}, "securityContext": restricted}
    context = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"metadata": {"name": "greedy"}, "spec": {"containers": [container], "securityContext": context}}
    namespace = pod_stack.cluster.namespace  # type: ignore[attr-defined]
    api.create_pod(namespace, pod)

    def told() -> str:
        found = api.pod(namespace, "greedy")
        error = stuck(found, ClusterConfig(), datetime.now(UTC) + timedelta(hours=1))
        return "" if error is None else str(error["message"])

    wait_until(told, 60, "the scheduler's words")
    assert "nodes are available" in told()
    api.delete_pod(namespace, "greedy")
