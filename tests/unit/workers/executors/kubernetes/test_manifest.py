"""The pod of an attempt: what it holds whatever the templates say, and that every supported cluster takes it."""

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from app.cluster_config import ClusterConfig
from app.pod_security import breaches
from celesta.errors import ConfigError
from celesta.pod_template import merge
from workers.executors.containers import Container
from workers.executors.kubernetes.labels import attempt_of, pod_name, selector
from workers.executors.kubernetes.manifest import pod_manifest
from workers.executors.kubernetes.templates import check, project_template

OLDEST, NEWEST = "1.30.0", "1.36.0"
INIT = Container("celesta-runtime", "celesta:1", ["python3", "-c", "pass"], {"CELESTA_STEP_TOKEN": "t"}, "init")
STEP = Container("step", "python:3.11", ["python3", "-m", "celesta.runtime"], {"A": "1"}, "main")
IO = Container("celesta-io", "celesta:1", ["python3"], {}, "sidecar", ["python3", "-c", "pass"])


def document(**more: Any) -> dict[str, Any]:
    return {
        "run": "0abc123def456", "project": "vision", "node": "7.3", "path": "train[3]", "token": "1.2", "attempt": 2,
        "kind": "python", "env": {}, "secrets": {}, "timeout_seconds": 90.5, "cache_key": None, "labels": {},
        "resources": {"cpu": 0.5, "memory_bytes": 2 * 2**30, "gpu": 1}, **more,
    }  # fmt: skip


def made(
    templates: tuple[dict[str, Any], ...] = (), containers: tuple[Container, ...] = (INIT, STEP), **more: Any
) -> Any:
    return pod_manifest(document(**more), containers, ClusterConfig(), templates)


def container(pod: Any, name: str = "step") -> Any:
    return next(c for c in pod["spec"]["containers"] + pod["spec"]["initContainers"] if c["name"] == name)


def every_kind_of_pod() -> list[Any]:
    template = {
        "metadata": {"labels": {"team": "x"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"}, "serviceAccountName": "trainer", "priorityClassName": "low",
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {}},
            "containers": [{"name": "step", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }  # fmt: skip
    containerised = made(containers=(INIT, IO, STEP), kind="container", secrets={"KEY": {"env": "KEY"}})
    return [made(), made((template,)), containerised, made(timeout_seconds=None, resources={})]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("kind", range(4))
def test_the_oldest_and_the_newest_cluster_know_every_field(version: str, kind: int) -> None:
    kubernetes_validate.validate(every_kind_of_pod()[kind], version, strict=True)


def test_a_field_that_the_oldest_does_not_know_would_be_noticed() -> None:
    pod = made(({"spec": {"resources": {"limits": {"cpu": "1"}}}},))  # of whole pods, since 1.32
    kubernetes_validate.validate(pod, NEWEST, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, OLDEST, strict=True)


@pytest.mark.parametrize("kind", range(4))
def test_it_passes_the_restricted_standard(kind: int) -> None:
    pod = every_kind_of_pod()[kind]
    spec = pod["spec"]
    assert list(breaches(pod, "restricted")) == []
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {key for volume in spec["volumes"] for key in volume} <= {"name", "emptyDir", "persistentVolumeClaim"}
    for one in spec["containers"] + spec["initContainers"]:
        assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_a_container_that_a_template_adds_passes_it_too_and_none_loses_it() -> None:
    theirs = {"containers": [{"name": "proxy", "image": "i"}, {"name": "step", "securityContext": None}]}
    pod = made(({"spec": {"securityContext": None, **theirs}},))
    assert [one["name"] for one in pod["spec"]["containers"]] == ["step", "proxy"]
    assert list(breaches(pod, "restricted")) == []
    kubernetes_validate.validate(pod, OLDEST, strict=True)


def test_it_runs_once_with_no_token_of_the_cluster_until_its_deadline() -> None:
    spec = made()["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    image_seconds = ClusterConfig().image_seconds  # it counts from before the pull
    assert spec["activeDeadlineSeconds"] == 91 + image_seconds + 60  # the runtime ends it itself, and says more
    assert made(kind="container")["spec"]["activeDeadlineSeconds"] == 91 + image_seconds + 60
    assert "activeDeadlineSeconds" not in made(timeout_seconds=None)["spec"]


def test_resources_are_what_the_step_asked_for() -> None:
    assert container(made())["resources"] == {
        "requests": {"cpu": "500m", "memory": str(2 * 2**30), "nvidia.com/gpu": "1"},
        "limits": {"memory": str(2 * 2**30), "nvidia.com/gpu": "1"},
    }
    assert container(made(resources={"cpu": 1.0, "memory_bytes": None, "gpu": 0}))["resources"] == {
        "requests": {"cpu": "1000m"}
    }


@pytest.mark.parametrize("kind", ["python", "container"])
def test_an_image_of_the_deployment_that_the_node_has_is_not_asked_of_a_registry(kind: str) -> None:
    init, io, step = (replace(one, image="celesta:latest") for one in (INIT, IO, STEP))
    theirs = replace(STEP, image="theirs:latest")
    for main, image in ((step, None), (step, "celesta:latest"), (theirs, "theirs:latest"), (theirs, None)):
        pod = made(containers=(init, io, main), kind=kind, image=image)
        policies = [one.get("imagePullPolicy") for one in pod["spec"]["initContainers"] + pod["spec"]["containers"]]
        assert policies == ["IfNotPresent"] * 2 + [None if image == "theirs:latest" else "IfNotPresent"]
    mine = {"spec": {"containers": [{"name": "step", "imagePullPolicy": "Always"}]}}
    assert container(made((mine,)))["imagePullPolicy"] == "Always"


@pytest.mark.parametrize(
    ("asked", "given"), [(None, 512 << 20), (64 << 20, 512 << 20), (2 << 30, 2 << 30), (32 << 30, 4 << 30)]
)
def test_the_helpers_may_use_as_much_memory_as_the_step_up_to_4_gib(asked: int | None, given: int) -> None:
    pod = made(containers=(INIT, IO, STEP), kind="container", resources={"memory_bytes": asked})
    for name in ("celesta-runtime", "celesta-io"):
        resources = container(pod, name)["resources"]
        assert resources == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": str(given)}}


def test_secrets_are_references_for_the_step_alone() -> None:
    pod = made(containers=(INIT, IO, STEP), secrets={"HF_TOKEN": {"env": "HF_TOKEN"}})
    reference = {"secretKeyRef": {"name": "celesta-secrets", "key": "HF_TOKEN"}}
    assert {"name": "HF_TOKEN", "valueFrom": reference} in container(pod)["env"]
    assert "HF_TOKEN" not in str(container(pod, "celesta-io")["env"])


def test_a_sidecar_starts_before_the_step_and_is_ready_then() -> None:
    pod = made(containers=(INIT, IO, STEP), kind="container")
    assert [c["name"] for c in pod["spec"]["initContainers"]] == ["celesta-runtime", "celesta-io"]
    assert container(pod, "celesta-io")["restartPolicy"] == "Always"
    assert container(pod, "celesta-io")["startupProbe"]["exec"]["command"] == ["python3", "-c", "pass"]


def test_a_template_chooses_but_cannot_take_the_attempt_away() -> None:
    theirs = {"name": "step", "image": "evil", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]}
    pod = made(
        (
            {"spec": {"securityContext": {"runAsUser": 7}, "restartPolicy": "Always", "containers": [theirs]}},
            {
                "metadata": {"labels": {"celesta.dev/run": "other", "team": "x"}},
                "spec": {"terminationGracePeriodSeconds": 5},
            },
        )
    )
    assert pod["spec"]["securityContext"]["runAsUser"] == 7
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["terminationGracePeriodSeconds"] == 5
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["metadata"]["labels"]["team"] == "x"
    assert pod["metadata"]["labels"]["celesta.dev/run"] == "0abc123def456"
    assert container(pod)["image"] == "python:3.11"
    assert {"name": "A", "value": "1"} in container(pod)["env"]
    assert {"name": "B", "value": "3"} in container(pod)["env"]


# Names


def test_an_attempt_is_found_again_in_its_pod() -> None:
    pod = made(cache_key="k" * 64, labels={"team": "vision", "note": "free text, really"})
    found = attempt_of(pod)
    assert found is not None
    assert (found.project, found.run, found.node, found.token) == ("vision", "0abc123def456", "7.3", "1.2")
    assert (found.path, found.cache_key, found.timeout_seconds) == ("train[3]", "k" * 64, 90.5)
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert pod["metadata"]["annotations"]["note"] == "free text, really"
    labels = pod["metadata"]["labels"]
    assert all(labels[key] == value for key, value in (part.split("=") for part in selector("celesta").split(",")))


def test_a_pod_that_only_looks_like_ours_is_none() -> None:
    assert attempt_of({"metadata": {"name": "x", "labels": {"app.kubernetes.io/managed-by": "celesta"}}}) is None


def test_the_same_attempt_has_the_same_name_and_another_has_another() -> None:
    nodes = ["7", "7.3", "73", "7/3", "7.3/2.1", "7/3.2/1"]
    names = {pod_name("0abc", node, token) for node in nodes for token in ("1.1", "1.2", "11.1")}
    assert len(names) == 18
    assert pod_name("0abc", "7.3", "1.1") == "step-0abc-7-3-1-1"
    deep = pod_name("0abc123def456", "/".join("123.4567" for _ in range(9)), "1.1")
    assert len(deep) <= 63
    assert deep.islower()


# Templates


def test_lists_are_merged_by_the_key_that_names_their_items() -> None:
    under = {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "args": ["a", "b"],
        "x": {"y": 1, "z": 2},
    }
    over = {"env": [{"name": "B", "value": "3"}, {"name": "A", "$patch": "delete"}], "args": ["c"], "x": {"y": None}}
    assert merge(under, over) == {"env": [{"name": "B", "value": "3"}], "args": ["c"], "x": {"z": 2}}
    assert under["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_a_volume_of_another_kind_takes_the_place_of_the_first() -> None:
    under = {"volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}]}
    other = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    assert merge(under, {"volumes": [other]}) == {"volumes": [other]}
    larger = {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}]}
    assert merge(under, larger) == {"volumes": [{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]}


def test_the_volume_of_the_attempt_stays_whatever_a_template_calls_so() -> None:
    theirs = {"name": "celesta", "persistentVolumeClaim": {"claimName": "mine"}}
    assert made(({"spec": {"volumes": [theirs]}},))["spec"]["volumes"] == [{"name": "celesta", "emptyDir": {}}]
    roomy = {"name": "celesta", "emptyDir": {"sizeLimit": "10Gi"}}
    assert made(({"spec": {"volumes": [roomy]}},))["spec"]["volumes"] == [roomy]


def test_all_that_is_wrong_with_a_template_is_told_at_once() -> None:
    bad = {
        "kind": "Deployment",
        "status": {},
        "metadata": {"name": "mine"},
        "spec": {
            "volumes": {},
            "containers": [{"image": "x"}, {"name": "step", "resources": {"limits": {"cpu": "lots", "memory": "2GB"}}}],
        },
    }
    with pytest.raises(ConfigError) as told:
        check(bad, "the file x.yaml")
    assert sorted(problem.where for problem in told.value.problems) == [
        "kind",
        "metadata.name",
        "spec.containers[0]",
        "spec.containers[1].resources.limits.cpu",
        "spec.containers[1].resources.limits.memory",
        "spec.volumes",
        "status",
    ]


@pytest.mark.parametrize("quantity", ["1", 2, 0.5, "500m", "2Gi", "1.5", "1e3", "100k", ".5"])
def test_quantities_are_those_of_kubernetes(quantity: Any) -> None:
    check({"spec": {"containers": [{"name": "step", "resources": {"requests": {"cpu": quantity}}}]}}, "it")


@pytest.mark.parametrize("template", ["text", [1], 7])
def test_what_is_no_object_is_no_template(template: Any) -> None:
    with pytest.raises(ConfigError, match="no pod template"):
        check(template, "it")


def test_a_project_has_its_own_template_or_the_default_one(tmp_path: Any) -> None:
    (tmp_path / "default.yaml").write_text("spec: {priorityClassName: low}")
    (tmp_path / "vision.yaml").write_text("spec: {priorityClassName: high}")
    assert project_template(tmp_path, "vision") == {"spec": {"priorityClassName": "high"}}
    assert project_template(tmp_path, "speech") == {"spec": {"priorityClassName": "low"}}
    assert project_template(None, "vision") == {}
    (tmp_path / "vision.yaml").write_text("spec: {")
    with pytest.raises(ConfigError, match=r"vision\.yaml cannot be read"):
        project_template(tmp_path, "vision")
