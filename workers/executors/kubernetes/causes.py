"""Why a pod ended, or will never start: told apart from what the cluster says of it, in words and kinds. Pure.

`cause_of` is for a pod that ended, `waits_for` and `stuck` for one that waits, `refusal` for one that was not taken.
Kinds are those of the contracts: what its author can change is of kind `user` (or `timeout`, `out_of_memory`), what
befell the pod from outside is of kind `system`, and counts on another budget.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.cluster_config import ClusterConfig
from celesta.runtime.failures import plain_error
from celesta.runtime.supervise import SYSTEM
from celesta.runtime.verdicts import timed_out
from workers.executors.containers import IO, RUNTIME, STEP
from workers.executors.kubernetes.cluster import Refused
from workers.executors.kubernetes.manifest import HELPER_MOST_BYTES

Document = dict[str, Any]

CONFIGURATION_SECONDS = 30.0
"""A Secret or ConfigMap that was forgotten may still be made."""
OVERSTAY_SECONDS = 60.0
"""Past the end of its grace period, which is what the time of a pod's deletion tells."""
CLOCK_SECONDS = 1.0
"""The cluster tells moments in whole seconds."""
DISRUPTIONS = {
    "PreemptionByScheduler": ("Preempted", "a pod of higher priority took its place"),
    "DeletionByTaintManager": ("NodeLost", "its node was lost or tainted"),
    "DeletionByPodGC": ("NodeLost", "its node is gone"),
    "EvictionByEvictionAPI": ("Evicted", "it was evicted"),
    "TerminationByKubelet": ("Evicted", "its node ended it"),
}
NODE_REASONS = {
    "Evicted": "Evicted",
    "Preempting": "Preempted",
    "NodeLost": "NodeLost",
    "NodeShutdown": "NodeLost",
    "Shutdown": "NodeLost",
    "Terminated": "NodeLost",
    "NodeAffinity": "NodeRefused",
    "UnexpectedAdmissionError": "NodeRefused",
}
IMAGE_REASONS = frozenset(
    (
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
    )
)
HOPELESS = frozenset(("InvalidImageName", "ErrImageNeverPull"))
CONFIGURATION_REASONS = frozenset(("CreateContainerConfigError", "CreateContainerError", "RunContainerError"))
IDLE_REASONS = frozenset(("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"))
"""Of events."""
NOT_THERE = re.compile(r'(secret|configmap|persistentvolumeclaim) "[^"]+" not found')
NO_START = frozenset(("StartError", "ContainerCannotRun"))
NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|exec format error")
OWN_DISK = re.compile(r"exceeded its local ephemeral storage limit|exceeds the (total )?limit")
"""Of containers, of a pod, and of a volume. Of a node that has too little the words are others."""
OUT_OF_MEMORY = "OOMKilled"
HELPERS = {IO: ", which stores the outputs,", RUNTIME: ", which lays the inputs,"}
"""They may use as much memory as the step, up to `HELPER_MOST_BYTES`."""
SIGKILL, SIGTERM = 137, 143
_LONG_AGO, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
QUOTA = re.compile(
    r"exceeded quota: (?P<quota>[^,]+), requested: (?P<requested>.+?), used: (?P<used>.+?), limited: (?P<limited>.+)"
)


def ended_well(pod: Mapping[str, Any]) -> bool:
    """Whether the step's own container ended with 0, and by itself: many programs do so when they are told to end.

    Not when the helper that stores its outputs ran out of memory: what it left is not all.
    """
    status = pod.get("status") or {}
    ends = dict(_terminated(status))
    step, helper = ends.get(STEP, {}), ends.get(IO, {})
    if step.get("exitCode") != 0 or status.get("reason") or helper.get("reason") == OUT_OF_MEMORY:
        return False
    told = _told_to_end_at(pod)
    return told is None or _moment(step.get("finishedAt")) < told


def _told_to_end_at(pod: Mapping[str, Any]) -> datetime | None:
    """When the pod was deleted or disrupted; None when it was not."""
    metadata = pod["metadata"]
    conditions = (pod.get("status") or {}).get("conditions") or ()
    told = [_moment(one.get("lastTransitionTime"), _LONG_AGO) for one in conditions if _is_disrupted(one)]
    if metadata.get("deletionTimestamp"):  # which is when its grace ends
        grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        told.append(_moment(metadata["deletionTimestamp"]) - grace)
    return min(told, default=None)


def cause_of(pod: Mapping[str, Any], kind: str, deleted: bool = False) -> Document:
    """The error of an attempt of this kind whose pod ended without leaving a result. `deleted`: it is there no more."""
    status = pod.get("status") or {}
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "DeadlineExceeded":
        seconds = pod["spec"].get("activeDeadlineSeconds")
        return plain_error("Timeout", f"the pod ran longer than its deadline of {seconds} s, and was ended", "timeout")
    if reason == "Evicted" and OWN_DISK.search(message):
        return plain_error("OutOfDisk", f"the pod used more disk than its limit: {message}; ask for more", "user")
    for condition in status.get("conditions") or ():
        if _is_disrupted(condition):
            type_, words = DISRUPTIONS.get(condition.get("reason"), ("Evicted", "it was disrupted"))
            return _system(type_, f"{words}: {condition.get('message') or condition.get('reason')}")
    if reason in NODE_REASONS or reason.startswith("OutOf"):
        return _system(NODE_REASONS.get(reason, "NodeRefused"), f"{reason}: {message}")
    ended = [*_terminated(status)]
    for name, state in ended:
        if found := _container_cause(name, state, kind):
            return found
    if deleted or pod["metadata"].get("deletionTimestamp"):
        return _system("PodDeleted", "the pod was deleted by someone before it had ended")
    if status.get("phase") == "Unknown":
        return _system("NodeLost", f"its node does not answer. {message}".strip())
    if ended:
        return _system("Lost", "the containers of the pod ended, and left no result")
    return _system("Lost", f"the pod ended without a word. {reason} {message}".strip())


def stuck(pod: Mapping[str, Any], config: ClusterConfig, now: datetime | None = None) -> Document | None:
    """Why a pod that has not started is not waited for any longer; None while it is."""
    moment = now or datetime.now(UTC)
    status = pod.get("status") or {}
    waited = _seconds_since(pod["metadata"].get("creationTimestamp"), moment)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            since = _seconds_since(condition.get("lastTransitionTime"), moment) or waited
            if condition.get("reason") != "Unschedulable" or since < config.unschedulable_seconds:
                return None
            return plain_error(
                "Unschedulable", f"no node took the pod within {since:.0f} s: {condition.get('message')}", "user"
            )
    placed = _seconds_since(status.get("startTime"), moment) or waited
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, words = waiting.get("reason"), waiting.get("message") or ""
        if reason in IMAGE_REASONS and (placed >= config.image_seconds or reason in HOPELESS):
            return plain_error("ImagePull", f"the image {container.get('image')!r} cannot be pulled: {words}", "user")
        if reason in CONFIGURATION_REASONS and placed >= CONFIGURATION_SECONDS:
            return plain_error("Configuration", f"container {container['name']!r} cannot be made: {words}", "user")
    return None


def overtime(pod: Mapping[str, Any], seconds: float | None, now: datetime | None = None) -> Document | None:
    """The error of a command that has run for longer than its time-out of so many seconds; None while it may go on."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        started_at = ((container.get("state") or {}).get("running") or {}).get("startedAt")
        since = _seconds_since(started_at, now or datetime.now(UTC))
        if seconds and container["name"] == STEP and since >= seconds + CLOCK_SECONDS:
            return timed_out(seconds)
    return None


def idle_seconds(pod: Mapping[str, Any], now: datetime | None = None) -> float:
    """For how long a pod has been on a node on which none of its containers has been made; 0 for all others.

    Its status says no more of it, whatever goes wrong there.
    """
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [(one.get("state") or {}).get("waiting") for one in containers]
    made = any(one is None or one.get("reason") in IMAGE_REASONS | CONFIGURATION_REASONS for one in waiting)
    if made or (status.get("phase") or "Pending") != "Pending":
        return 0.0
    return _seconds_since(status.get("startTime"), now or datetime.now(UTC))


def trouble(events: list[Document]) -> str:
    """What the last event of an idle pod says of a volume or a network that it cannot have; empty when of others."""
    last = events[-1] if events else {}
    return f"{last['reason']}: {last.get('message')}" if last.get("reason") in IDLE_REASONS else ""


def unstartable(words: str) -> Document:
    """The error of a pod that is given up for this trouble."""
    is_missing = NOT_THERE.search(words)
    advice = "it names what is not there" if is_missing else "its node cannot make it"
    return plain_error("Configuration", f"the pod cannot start, {advice}: {words}", "user" if is_missing else "system")


def waits_for(pod: Mapping[str, Any], told: str = "") -> str | None:
    """What a pod that has not started waits for, in the cluster's own words; None when it has.

    `told` is what its events say, when it is idle.
    """
    status = pod.get("status") or {}
    if (status.get("phase") or "Pending") != "Pending":
        return None
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    scheduled, node = conditions.get("PodScheduled", {}), (pod.get("spec") or {}).get("nodeName")
    if scheduled.get("status") == "False" or not (node or status.get("startTime")):
        words = scheduled.get("message") or ""
        return f"a node: {words}" if words else "a node, which the scheduler looks for"
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, words = waiting.get("reason"), waiting.get("message") or waiting.get("reason")
        if reason in IMAGE_REASONS:
            return f"the image {container.get('image')!r}, which cannot be pulled yet: {words}"
        if reason in CONFIGURATION_REASONS:
            return f"container {container['name']!r}, which cannot be made yet: {words}"
    if any("running" in (container.get("state") or {}) for container in containers):
        return "its inputs, which are being laid"
    if told and idle_seconds(pod):
        return f"its containers: {told}"
    return f"its containers: node {node or '(unknown)'} pulls images and mounts volumes"


def overstays(pod: Mapping[str, Any], now: datetime | None = None) -> bool:
    """Whether the pod should long be gone: then its node does not answer, and its end may never be told."""
    since = pod["metadata"].get("deletionTimestamp")
    return _seconds_since(since, now or datetime.now(UTC)) > OVERSTAY_SECONDS


def refusal(error: Refused, namespace: str) -> Document:
    """Why the cluster did not take a pod, and what to do."""
    words = str(error)
    if error.status == 404:
        advice = "make it with `celesta projects provision`, or set CELESTA_NAMESPACE"
        return plain_error("NamespaceMissing", f"there is no namespace {namespace!r}; {advice} ({words})", "user")
    if error.status == 401:
        return plain_error("Unauthorized", f"the cluster does not know us: {words}; look at the kubeconfig", "user")
    if QUOTA.search(words):
        return plain_error("QuotaExceeded", f"the quota of namespace {namespace!r} is used up: {words}", "user")
    if error.status == 403 and " cannot create resource " in words:
        advice = f"give the service account the verb create on pods in namespace {namespace!r} (k8s/base has the role)"
        return plain_error("Forbidden", f"{words}; {advice}", "user")
    if error.status in (400, 422):
        return plain_error("InvalidPod", f"the cluster does not take the pod: {words}", "user")
    return plain_error("AdmissionRefused", f"the cluster does not admit the pod: {words}", "user")


def may_fit_later(error: Refused) -> bool:
    """Whether the quota that refused the pod would have room for it, were others gone."""
    found = QUOTA.search(str(error))
    if not found:
        return False
    requested, limited = _amounts(found["requested"]), _amounts(found["limited"])
    return all(amount <= limited.get(name, amount) for name, amount in requested.items())


def event_lines(events: list[Document]) -> list[str]:
    """Events as people read them: when, what, why, how often."""
    lines = []
    for event in events:
        moment = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
        count = event.get("count") or 1
        times = f" ({count} times)" if count > 1 else ""
        at = str(moment or event.get("eventTime") or "")[:19]
        lines.append(f"{at} {event.get('type')} {event.get('reason')}: {event.get('message')}{times}".strip())
    return lines


def _container_cause(name: str, state: Mapping[str, Any], kind: str) -> Document | None:
    reason, code, words = state.get("reason"), state.get("exitCode", 0), str(state.get("message") or "").strip()
    if reason == OUT_OF_MEMORY:
        helps = HELPERS.get(name, "")
        words = f"container {name!r}{helps} used more memory than its limit, and was ended; ask for more for the step"
        most = f"up to {HELPER_MOST_BYTES >> 30} GiB"
        advice = f", of which its helpers get as much, {most}, or pass large values as a File" if helps else ""
        return plain_error("OutOfMemory", words + advice, "out_of_memory")
    if reason == "ContainerStatusUnknown":
        return _system("NodeLost", f"the state of container {name!r} was lost with its node. {words}".strip())
    if reason in NO_START or (code in (126, 127, 128) and NO_PROGRAM.search(words)):
        hint = " (a Python task wants an image with python3)" if "python3" in words else ""
        return plain_error("Configuration", f"container {name!r} cannot start: {words or reason}{hint}", "user")
    if code in (SIGKILL, SIGTERM):
        number = "SIGKILL" if code == SIGKILL else "SIGTERM"
        return _system("Killed", f"container {name!r} was ended from outside by {number}. {words}".strip())
    if code:
        ours = name != STEP or (kind != "container" and code == SYSTEM)
        whose = "system" if ours else "user"
        return plain_error("ProcessExited", f"container {name!r} ended with status {code}. {words}".strip(), whose)
    return None


def _terminated(status: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What ended, the step's own container first: what befell it tells most."""
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    found = [
        (one["name"], state["terminated"]) for one in statuses if (state := one.get("state") or {}).get("terminated")
    ]
    return sorted(found, key=lambda pair: pair[0] != STEP)


def _is_disrupted(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"


def _system(type_: str, message: str) -> Document:
    return plain_error(type_, f"the pod was lost: {message}" if type_ != "Lost" else message, "system")


def _seconds_since(moment: str | None, now: datetime) -> float:
    return (now - _moment(moment)).total_seconds() if moment else 0.0


def _moment(text: str | None, unknown: datetime = _NEVER) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else unknown


UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}


def _amounts(text: str) -> dict[str, float]:
    """`cpu=2,requests.memory=4Gi` as numbers; what is no number is left out."""
    found = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([numkMGTPE]?i?)", value)
        if match and match[2] in UNITS:
            found[name] = float(match[1]) * UNITS[match[2]]
    return found
