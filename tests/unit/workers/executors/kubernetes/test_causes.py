"""Why a pod ended or will not start: each cause by its own name, words and kind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.cluster_config import ClusterConfig
from workers.executors.kubernetes.causes import (
    cause_of,
    ended_well,
    event_lines,
    idle_seconds,
    may_fit_later,
    overstays,
    overtime,
    refusal,
    stuck,
    trouble,
    unstartable,
    waits_for,
)
from workers.executors.kubernetes.cluster import Refused

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(**status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "n", "creationTimestamp": ago(1000)}
    return {"metadata": metadata, "spec": {"activeDeadlineSeconds": 60}, "status": {"phase": "Failed", **status}}


def ended(code: int, reason: str = "Error", message: str = "", name: str = "step") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"containerStatuses": [{"name": name, "state": state}]}


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "the words"}
    return {"conditions": [condition], **ended(143)}


PYTHONLESS = 'exec: "python3": executable file not found in $PATH: unknown'

OVER_DISK = [
    {"reason": "Evicted", "message": words, "conditions": [{"type": "DisruptionTarget", "status": "True"}]}
    for words in (
        'Container step exceeded its local ephemeral storage limit "1Gi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
        'Usage of EmptyDir volume "celesta" exceeds the limit "1Gi". ',
    )
]
CASES = {
    "a status": (ended(3, message="last words"), "ProcessExited", "user", "status 3. last words"),
    "memory": (ended(137, "OOMKilled"), "OutOfMemory", "out_of_memory", "more memory than its limit"),
    "deadline": ({"reason": "DeadlineExceeded"}, "Timeout", "timeout", "60 s"),
    "pressure": (
        {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage. "},
        "Evicted",
        "system",
        "was low on",
    ),
    "disk of a container": (OVER_DISK[0], "OutOfDisk", "user", "exceeded its local ephemeral storage limit"),
    "disk of a pod": (OVER_DISK[1], "OutOfDisk", "user", "exceeds the total limit of containers 1Gi"),
    "disk of a volume": (OVER_DISK[2], "OutOfDisk", "user", "exceeds the limit"),
    "eviction": (disrupted("EvictionByEvictionAPI"), "Evicted", "system", "the words"),
    "preemption": (disrupted("PreemptionByScheduler"), "Preempted", "system", "the words"),
    "kubelet preemption": ({"reason": "Preempting", "message": "critical pod"}, "Preempted", "system", "critical pod"),
    "taint": (disrupted("DeletionByTaintManager"), "NodeLost", "system", "lost or tainted"),
    "no node": (disrupted("DeletionByPodGC"), "NodeLost", "system", "gone"),
    "shutdown": ({"reason": "Terminated", "message": "node shutdown"}, "NodeLost", "system", "node shutdown"),
    "unknown container": (ended(137, "ContainerStatusUnknown"), "NodeLost", "system", "lost with its node"),
    "unknown node": ({"phase": "Unknown"}, "NodeLost", "system", "does not answer"),
    "no room at the node": ({"reason": "OutOfcpu", "message": "node full"}, "NodeRefused", "system", "node full"),
    "a kill": (ended(137), "Killed", "system", "SIGKILL"),
    "a term": (ended(143), "Killed", "system", "SIGTERM"),
    "no python": (ended(128, "StartError", PYTHONLESS), "Configuration", "user", "wants an image with python3"),
    "our own helper": (ended(3, name="celesta-runtime"), "ProcessExited", "system", "celesta-runtime"),
    "no result": (ended(0, "Completed"), "Lost", "system", "left no result"),
    "no word": ({}, "Lost", "system", "without a word"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_end_has_a_cause_of_its_own(case: str) -> None:
    status, type_, kind, words = CASES[case]
    error = cause_of(pod(**status), "container")
    assert (error["type"], error["kind"]) == (type_, kind)
    assert words in error["message"]


def test_a_pod_that_somebody_deleted_is_no_fault_of_the_step() -> None:
    error = cause_of(pod(phase="Running"), "python", deleted=True)
    assert (error["type"], error["kind"]) == ("PodDeleted", "system")
    assert cause_of(pod(**ended(137, "OOMKilled")), "python", deleted=True)["type"] == "OutOfMemory"


def test_what_befell_the_step_tells_more_than_what_befell_a_helper() -> None:
    helper = {"name": "celesta-io", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    error = cause_of(pod(initContainerStatuses=[helper], **ended(137, "OOMKilled")), "python")
    assert error["type"] == "OutOfMemory"


@pytest.mark.parametrize(
    ("kind", "code", "whose"),
    [("python", 3, "system"), ("dynamic", 3, "system"), ("python", 1, "user"), ("container", 3, "user")],
)
def test_a_store_or_a_server_that_is_away_is_no_fault_of_the_step(kind: str, code: int, whose: str) -> None:
    words = "the store behind http://celesta-web does not answer"
    assert cause_of(pod(**ended(code, message=words)), kind)["kind"] == whose


# Commands


def test_a_command_may_run_for_its_time_from_its_own_start() -> None:
    def running(seconds: float, name: str = "step") -> dict[str, Any]:
        state = {"running": {"startedAt": ago(seconds)}}
        return pod(phase="Running", startTime=ago(999), containerStatuses=[{"name": name, "state": state}])

    assert overtime(running(60), 60.0, NOW) is None
    assert overtime(running(999, "proxy"), 60.0, NOW) is None
    assert overtime(running(999), None, NOW) is None
    assert overtime(pod(**ended(0)), 60.0, NOW) is None
    error = overtime(running(61), 60.0, NOW)
    assert error is not None
    assert (error["type"], error["kind"]) == ("Timeout", "timeout")
    assert "60 s" in error["message"]


def finished(at_seconds: float, code: int = 0, **status: Any) -> dict[str, Any]:
    found = ended(code, "Completed")
    found["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = ago(at_seconds)
    return pod(**{"phase": "Succeeded", **found, **status})


def deleted(asked_seconds: float, of: dict[str, Any], grace: int = 30) -> dict[str, Any]:
    told = {"deletionTimestamp": ago(asked_seconds - grace), "deletionGracePeriodSeconds": grace}
    return of | {"metadata": of["metadata"] | told}


def disruption(at_seconds: float) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "m"}
    return {"conditions": [condition | {"lastTransitionTime": ago(at_seconds)}]}


def helper(reason: str, code: int) -> list[dict[str, Any]]:
    return [{"name": "celesta-io", "state": {"terminated": {"exitCode": code, "reason": reason}}}]


def test_a_helper_that_ran_out_of_memory_is_told_by_its_name_with_what_helps() -> None:
    error = cause_of(finished(10, initContainerStatuses=helper("OOMKilled", 137)), "container")
    assert (error["type"], error["kind"]) == ("OutOfMemory", "out_of_memory")
    for words in ("'celesta-io', which stores the outputs", "more for the step", "up to 4 GiB", "as a File"):
        assert words in error["message"]


@pytest.mark.parametrize(
    ("found", "well"),
    [
        (finished(10), True),
        (finished(10, code=1), False),
        (pod(phase="Running"), False),
        (finished(10, reason="DeadlineExceeded"), False),
        (finished(10, reason="Evicted"), False),
        (finished(10, **disruption(12)), False),
        (finished(10, **disruption(8)), True),
        (deleted(12, finished(10)), False),
        (deleted(8, finished(10)), True),
        (deleted(12, pod(**ended(0, "Completed"))), False),
        (finished(10, initContainerStatuses=helper("OOMKilled", 137)), False),
        (finished(10, initContainerStatuses=helper("Completed", 0)), True),
    ],
)
def test_a_command_ended_well_when_it_did_so_before_it_was_told_to_end(found: dict[str, Any], well: bool) -> None:
    assert ended_well(found) is well


# Pods that wait


def unscheduled(seconds: float, reason: str = "Unschedulable") -> dict[str, Any]:
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": words}
    return pod(phase="Pending", conditions=[condition | {"lastTransitionTime": ago(seconds)}])


def waiting(reason: str, placed_seconds: float, container: str = "containerStatuses") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "the registry's words"}}
    return pod(
        phase="Pending",
        startTime=ago(placed_seconds),
        **{container: [{"name": "step", "image": "i:1", "state": state}]},
    )


def test_an_unschedulable_pod_is_given_up_with_the_schedulers_own_words() -> None:
    error = stuck(unscheduled(601), ClusterConfig(), NOW)
    assert error is not None
    assert (error["type"], error["kind"]) == ("Unschedulable", "user")
    assert "0/3 nodes are available: 3 Insufficient nvidia.com/gpu." in error["message"]


@pytest.mark.parametrize(
    "patient",
    [
        unscheduled(599),
        unscheduled(9999, "SchedulingGated"),
        waiting("ImagePullBackOff", 179),
        waiting("CreateContainerConfigError", 29),
        waiting("ContainerCreating", 9999),
        waiting("PodInitializing", 9999),
        pod(phase="Pending"),
    ],
)
def test_what_may_still_start_is_waited_for(patient: dict[str, Any]) -> None:
    assert stuck(patient, ClusterConfig(), NOW) is None


RUNNING_INIT = {"initContainerStatuses": [{"name": "celesta-runtime", "state": {"running": {}}}]}


@pytest.mark.parametrize(
    ("patient", "words"),
    [
        (unscheduled(1), "a node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        (pod(phase="Pending"), "the scheduler"),
        (waiting("ImagePullBackOff", 1), "the image 'i:1', which cannot be pulled yet: the registry's words"),
        (waiting("CreateContainerConfigError", 1), "container 'step', which cannot be made yet: the registry's words"),
        (waiting("ContainerCreating", 1), "pulls images and mounts volumes"),
        (pod(phase="Pending", startTime=ago(1), **RUNNING_INIT), "its inputs"),
    ],
)
def test_a_pod_that_waits_says_for_what_in_the_clusters_own_words(patient: dict[str, Any], words: str) -> None:
    assert words in str(waits_for(patient))


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed", "Unknown"])
def test_a_pod_that_has_started_waits_for_nothing(phase: str) -> None:
    assert waits_for(pod(phase=phase)) is None


@pytest.mark.parametrize(
    ("stuck_pod", "type_"),
    [
        (waiting("ImagePullBackOff", 181), "ImagePull"),
        (waiting("ErrImagePull", 181, "initContainerStatuses"), "ImagePull"),
        (waiting("InvalidImageName", 1), "ImagePull"),
        (waiting("CreateContainerConfigError", 31), "Configuration"),
    ],
)
def test_what_will_not_start_is_given_up(stuck_pod: dict[str, Any], type_: str) -> None:
    error = stuck(stuck_pod, ClusterConfig(), NOW)
    assert error is not None
    assert error["type"] == type_
    assert "the registry's words" in error["message"]


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        (waiting("ContainerCreating", 90), 90),
        (waiting("PodInitializing", 90), 90),
        (waiting("ImagePullBackOff", 90), 0),
        (waiting("CreateContainerConfigError", 90), 0),
        (pod(phase="Pending"), 0),
        (pod(phase="Pending", startTime=ago(90), **RUNNING_INIT), 0),
        (pod(phase="Running", startTime=ago(90)), 0),
    ],
)
def test_a_pod_is_idle_when_its_node_has_made_no_container(found: dict[str, Any], seconds: float) -> None:
    assert idle_seconds(found, NOW) == seconds


@pytest.mark.parametrize(
    ("reason", "words", "whose"),
    [
        ("FailedMount", 'MountVolume.SetUp failed for volume "k": secret "key" not found', "user"),
        ("FailedMount", "driver name x not found in the list of registered CSI drivers", "system"),
        ("FailedAttachVolume", "Multi-Attach error for volume", "system"),
        ("FailedCreatePodSandBox", "plugin type calico failed (add)", "system"),
    ],
)
def test_the_last_event_of_an_idle_pod_tells_its_trouble(reason: str, words: str, whose: str) -> None:
    event = {"reason": reason, "message": words}
    error = unstartable(trouble([event]))
    assert (error["type"], error["kind"]) == ("Configuration", whose)
    assert words in error["message"]
    assert words in str(waits_for(waiting("ContainerCreating", 90) | {"spec": {"nodeName": "n1"}}, trouble([event])))
    assert trouble([event, {"reason": "Pulling", "message": "Pulling image"}]) == trouble([]) == ""


def test_a_pod_that_should_long_be_gone_has_a_node_that_does_not_answer() -> None:
    deleted = pod(phase="Running", **disrupted("DeletionByTaintManager"))
    deleted["metadata"]["deletionTimestamp"] = ago(59)
    assert not overstays(deleted, NOW)
    deleted["metadata"]["deletionTimestamp"] = ago(61)
    assert overstays(deleted, NOW)
    assert cause_of(deleted, "python", deleted=True)["type"] == "NodeLost"
    assert not overstays(pod(), NOW)


# Refusals


FORBIDDEN = 'pods is forbidden: User "sa" cannot create resource "pods" in API group "" in the namespace "n"'
SECURITY = 'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
QUOTA = 'pods "p" is forbidden: exceeded quota: q, requested: {requested}, used: cpu=8, limited: cpu=8,memory=4Gi'


@pytest.mark.parametrize(
    ("status", "message", "type_", "words"),
    [
        (404, 'namespaces "n" not found', "NamespaceMissing", "celesta projects provision"),
        (403, FORBIDDEN, "Forbidden", "verb create on pods in namespace 'n'"),
        (403, SECURITY, "AdmissionRefused", "violates PodSecurity"),
        (400, 'admission webhook "w" denied the request', "InvalidPod", "denied"),
        (422, "spec.containers[0].image: Required value", "InvalidPod", "Required value"),
        (403, QUOTA.format(requested="cpu=9"), "QuotaExceeded", "cpu=9"),
        (401, "Unauthorized", "Unauthorized", "kubeconfig"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, message: str, type_: str, words: str) -> None:
    error = refusal(Refused(message, status), "n")
    assert (error["type"], error["kind"]) == (type_, "user")
    assert words in error["message"]


@pytest.mark.parametrize(
    ("requested", "later"),
    [("cpu=2", True), ("cpu=8", True), ("cpu=8001m", False), ("cpu=1,memory=5Gi", False), ("memory=4096Mi", True)],
)
def test_a_quota_is_waited_for_only_when_the_pod_would_ever_fit(requested: str, later: bool) -> None:
    assert may_fit_later(Refused(QUOTA.format(requested=requested), 403)) is later


def test_other_refusals_are_not_waited_for() -> None:
    assert may_fit_later(Refused(SECURITY, 403)) is False


def test_events_are_told_as_people_read_them() -> None:
    event = {
        "type": "Warning",
        "reason": "BackOff",
        "message": "m",
        "count": 3,
        "lastTimestamp": "2026-01-01T12:00:00Z",
    }
    assert event_lines([event]) == ["2026-01-01T12:00:00 Warning BackOff: m (3 times)"]
