"""A task's pod template asks for no more than the operator allows, and is told all that it does at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cluster_config import ClusterConfig
from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.config import Config
from app.services.pod_check import require_template, require_templates, require_templates_of_spec
from celesta.errors import InputError, SpecError
from tests.unit.app.specs import spec, step, task

HOST = {"spec": {"hostNetwork": True, "volumes": [{"name": "root", "hostPath": {"path": "/"}}]}}
CONFIG = Config(
    home=Path("/x"), database_url="sqlite://", redis_url="unix:///x", broker_url="unix:///x", store_url="file:///x",
    executor="kubernetes",
)  # fmt: skip


def refused(template: dict[str, Any], config: ClusterConfig | None = None) -> list[str]:
    try:
        require_template(template, config or ClusterConfig(), "vision", "it")
    except InputError as error:
        return [problem.where for problem in error.problems]
    return []


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "step", **fields}]}}


def workflow(template: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Two steps of one task, of which the second has options of its own."""
    return spec([task("a", (), pod_template=template)], [step("a"), step("a#2", options=options)])


def test_all_that_a_template_may_not_ask_for_is_told_at_once() -> None:
    assert refused(HOST) == ["it.spec.hostNetwork", "it.spec.volumes[root].hostPath"]


def test_what_we_choose_for_the_step_cannot_be_taken_away() -> None:
    assert refused(container(securityContext=None)) == []
    assert refused({"spec": {"securityContext": None}}) == []
    where = "it.spec.containers[step].securityContext"
    assert refused(container(securityContext={"allowPrivilegeEscalation": None, "capabilities": None})) == []
    assert refused(container(securityContext={"capabilities": {"drop": None}})) == [f"{where}.capabilities.drop"]


def test_the_operator_may_allow_more() -> None:
    assert refused(HOST, ClusterConfig(pod_security="baseline")) != []
    assert refused(HOST, ClusterConfig(pod_security="privileged")) == []


def claim(**spec: Any) -> dict[str, Any]:
    return {"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]}}


NAMING = [
    {"spec": {"serviceAccountName": "data-reader"}},
    {"spec": {"imagePullSecrets": [{"name": "data-reader"}]}},
    {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "data-reader"}}]}},
    {"spec": {"volumes": [{"name": "v", "configMap": {"name": "data-reader"}}]}},
    {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data-reader"}}]}},
    {"spec": {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "data-reader"}}]}}]}},
    {"spec": {"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "data-reader"}}}]}},
    {"spec": {"volumes": [{"name": "v", "csi": {"volumeAttributes": {"secretProviderClass": "data-reader"}}}]}},
    claim(dataSource={"kind": "PersistentVolumeClaim", "name": "data-reader"}),
    claim(dataSourceRef={"kind": "VolumeSnapshot", "name": "data-reader"}),
    claim(volumeName="data-reader"),
    {"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "data-reader"}]}},
    {"spec": {"resourceClaims": [{"name": "gpu", "source": {"resourceClaimTemplateName": "data-reader"}}]}},
    {"spec": {"serviceAccountName": "data-reader", "automountServiceAccountToken": True}},
    container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "data-reader", "key": "k"}}}]),
    container(envFrom=[{"configMapRef": {"name": "data-reader"}}]),
]


@pytest.mark.parametrize("template", NAMING)
def test_in_a_shared_namespace_only_what_is_open_may_be_named(template: dict[str, Any]) -> None:
    shared = ClusterConfig(namespace="steps")
    assert refused(template) == []  # the namespace is the project's own
    assert len(refused(template, shared)) == 1
    assert refused(template, replace(shared, pod_objects=("{project}-*", "data-*"))) == []
    assert len(refused(template, replace(shared, pod_objects=("{project}-*",)))) == 1
    assert len(refused(template, ClusterConfig(pod_objects=()))) == 1


TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"automountServiceAccountToken": True}, "automountServiceAccountToken"),
        ({"automountServiceAccountToken": None}, "automountServiceAccountToken"),
        ({"volumes": [{"name": "v", **TOKEN}]}, "volumes[v].projected"),
    ],
)
def test_a_token_is_that_of_the_default_account_where_none_is_named(wanted: dict[str, Any], where: str) -> None:
    shared = ClusterConfig(namespace="steps")
    assert refused({"spec": wanted}) == []
    assert refused({"spec": wanted}, shared) == [f"it.spec.{where}"]
    assert refused({"spec": wanted}, replace(shared, pod_objects=("default",))) == []
    assert refused({"spec": wanted | {"automountServiceAccountToken": False, "volumes": []}}, shared) == []


@pytest.mark.parametrize("odd", ["x", [1], {"a": [None]}, [{"name": "v", "projected": {"sources": 5}}]])
def test_what_is_no_form_of_the_clusters_is_left_to_the_cluster(odd: Any) -> None:
    spec = {"resourceClaims": odd, "volumes": odd if isinstance(odd, list) and odd != [1] else []}
    assert refused({"spec": spec}, ClusterConfig(namespace="steps")) == []


def test_a_spec_is_refused_with_the_place_of_each_template() -> None:
    with pytest.raises(SpecError, match="CELESTA_POD_SECURITY") as caught:
        require_templates_of_spec(workflow(HOST, pod_template={"spec": {"hostPID": True}}), CONFIG, "vision")
    assert [problem.where for problem in caught.value.problems] == [
        "tasks.a.pod_template.spec.hostNetwork",
        "tasks.a.pod_template.spec.volumes[root].hostPath",
        "steps.a#2.options.pod_template.spec.hostPID",
    ]


def test_one_step_of_a_task_that_is_no_pod_hides_no_other_that_is() -> None:
    once = "tasks.a.pod_template.spec.hostNetwork"
    for executors in (("kubernetes", "process"), ("process", "kubernetes"), (None, "process"), (None, "kubernetes")):
        steps = [step(f"a#{i}", options={"executor": executor}) for i, executor in enumerate(executors)]
        with pytest.raises(SpecError) as caught:
            require_templates_of_spec(spec([task("a", (), pod_template=HOST)], steps), CONFIG, "vision")
        assert [problem.where for problem in caught.value.problems].count(once) == 1


def test_a_plan_is_refused_at_its_launch_when_the_setting_has_changed() -> None:
    plan = Plan(compile_plan(workflow(HOST)))
    with pytest.raises(InputError) as caught:
        require_templates(plan, CONFIG, "vision")
    assert caught.value.problems[0].where == "steps.a.pod_template.spec.hostNetwork"


def test_where_steps_are_no_pods_a_template_says_nothing() -> None:
    require_templates_of_spec(workflow(HOST), replace(CONFIG, executor="process"), "vision")
    with pytest.raises(SpecError):
        require_templates_of_spec(workflow(HOST, executor="kubernetes"), replace(CONFIG, executor="process"), "vision")
