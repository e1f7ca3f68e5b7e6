"""The contract of a step holds in pods: the tests of all executors, but for those that look at the worker's host."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_kubernetes import BARE_PYTHON
from tests.fixtures.cluster import TestCluster
from tests.fixtures.home import short_directory
from tests.fixtures.kubelet import Kubelet
from tests.fixtures.playground import playground_config, serving
from tests.integration.executors.test_contract import (  # noqa: F401 - tests, run here on another executor
    test_a_checkpoint_is_there_for_the_next_attempt,
    test_a_crash_shows_where_it_was,
    test_a_file_is_stored_and_received_read_only_beside_the_empty_scratch_directory,
    test_a_fork_that_returns_as_well_counts_once,
    test_a_function_that_is_not_there_is_named,
    test_a_missing_bundle_is_a_system_error,
    test_a_module_that_crashes_on_import_fails_its_steps_only,
    test_a_module_that_starts_threads_on_import_has_them_in_each_step,
    test_a_project_may_have_packages_named_like_ours,
    test_a_step_that_closes_every_descriptor_still_counts,
    test_a_step_without_outputs_returns_nothing,
    test_a_syntax_error_shows_its_line,
    test_an_async_function_is_awaited,
    test_an_exception_is_shown_with_the_users_frames_only,
    test_an_import_error_is_the_steps_own_with_its_traceback,
    test_an_output_that_cannot_be_stored_is_a_user_error_that_names_it,
    test_each_field_of_a_named_tuple_is_an_output,
    test_each_step_starts_with_clean_state_in_an_empty_directory,
    test_every_way_to_die_has_its_kind_and_the_next_step_runs,
    test_megabytes_of_output_are_kept,
    test_metrics_report_and_log_are_kept,
    test_random_numbers_differ_between_steps,
    test_the_environment_is_there_before_the_modules_are_imported,
    test_the_first_result_of_an_attempt_stands,
    test_the_log_of_a_process_that_died_is_kept,
    test_the_result_is_durable_and_says_what_went_in_and_came_out,
    test_whatever_is_written_to_the_output_is_in_the_log,
)
from tests.integration.kubernetes.bench import PodBench, pod_bench


@pytest.fixture(scope="module")
def kubelet() -> Iterator[Kubelet]:
    """A node that has nothing but Python."""
    with short_directory("celesta-pod-node-") as folder:
        cluster = TestCluster(folder)
        node = Kubelet(cluster, folder / "node", BARE_PYTHON, {"PATH": os.environ["PATH"]})
        yield node
        node.close()
        cluster.close()


@pytest.fixture(scope="module")
def bench(redis_server: str, upgraded_sqlite: Path, kubelet: Kubelet) -> Iterator[PodBench]:
    """Its pods, and an API that they call back."""
    with short_directory("celesta-pod-bench-") as home:
        shutil.copyfile(upgraded_sqlite, home / "celesta.db")
        with (
            serving(playground_config(home, redis_server)) as playground,
            pod_bench(playground, kubelet.cluster.config) as made,
        ):
            yield made


# Of pods alone


def test_a_command_that_its_node_ended_has_not_succeeded_though_it_ends_with_0(
    bench: PodBench, kubelet: Kubelet, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "begun")
    program = f"trap 'exit 0' TERM; echo half > /celesta/out/x; echo > {tmp_path}/begun; while :; do sleep 0.05; done"
    document = bench.document("add", returns={"x": {"kind": "file"}})
    document |= {"kind": "container", "image": "busybox", "command": ["sh", "-c", program]}
    threading.Thread(target=lambda: ((tmp_path / "begun").read_text(), kubelet.evict()), daemon=True).start()
    error = bench.error(bench.submit(document))
    assert (error["type"], error["kind"]) == ("Evicted", "system")


def test_a_command_gets_its_words_and_variables_as_they_are(bench: PodBench) -> None:
    document = bench.document("add", returns={"x": {"kind": "file"}})
    program = 'printf "%s, %s" "$1" "$PRICE" > /celesta/out/x'
    command = ["sh", "-c", program, "sh", "$(PRICE) or $$6"]
    document |= {"kind": "container", "image": "busybox", "command": command, "env": {"PRICE": "$$5 $(CELESTA_RUN_ID)"}}
    output = bench.submit(document)["outputs"]["x"]
    assert bench.store.get_blob(output["blob"]) == b"$(PRICE) or $$6, $$5 $(CELESTA_RUN_ID)"
