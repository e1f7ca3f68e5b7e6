"""The manifests of `k8s/` render, fit the schemas of Kubernetes, and agree with the code and with each other."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.cluster_config import ClusterConfig
from app.config import Config
from app.dispatch import QUEUE_STEPS
from tests.kustomize import render
from tests.unit.guards.test_deployment import resolve
from workers.executors.kubernetes.provision import objects
from workers.server import ROLES

ROOT = Path(__file__).parents[3]
K8S = ROOT / "k8s"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OVERLAYS = {name: render(K8S / "overlays" / name) for name in ("dev", "production")}
PROJECT = render(K8S / "project")
VERSIONS = ("1.30", "1.36")
SERVED = {role for role in ROLES if role != "upgrade"}
"""Roles that run for ever."""


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in OVERLAYS[overlay] if one["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in of_kind(overlay, kind) if one["metadata"]["name"] == name]
    return found


def pods(overlay: str) -> list[tuple[str, dict[str, Any]]]:
    """The pod template of everything that has one, with its name."""
    made = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in made]


def ours(overlay: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Those that run a role or a command of ours: name, pod, container."""
    found = [(name, pod, pod["containers"][0]) for name, pod in pods(overlay)]
    return [(name, pod, box) for name, pod, box in found if "args" in box and name.startswith("celesta-")]


def settings(overlay: str) -> dict[str, str]:
    return dict(named(overlay, "ConfigMap", "celesta-settings")["data"])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_old_and_new_clusters(overlay: str, version: str) -> None:
    for document in OVERLAYS[overlay]:
        if not document["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_the_same(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here; the overlays were rendered by tests/kustomize.py only")
    run = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout

    def by_name(documents: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
        return {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]): d for d in documents}

    assert by_name(list(yaml.safe_load_all(shown))) == by_name(OVERLAYS[overlay])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_has_a_deployment_and_every_command_exists(overlay: str) -> None:
    for _, _, container in ours(overlay):
        resolve(container["args"])
    roles = [container["args"][1] for _, _, container in ours(overlay) if container["args"][0] == "server"]
    assert sorted(roles) == sorted(SERVED)
    assert [box["args"] for _, _, box in ours(overlay) if box["args"][0] == "db"] == [["db", "upgrade"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_read_and_accepted_by_the_code(overlay: str) -> None:
    environ = settings(overlay)
    for _, _, container in ours(overlay):
        environ |= {one["name"]: one["value"] for one in container.get("env", [])}
    sources = "".join(path.read_text() for path in (ROOT / "app").glob("*config.py"))
    assert {key for key in environ if key.startswith("CELESTA_")} <= set(re.findall(r'"(CELESTA_\w+)"', sources))
    secrets = {
        "CELESTA_SECRET_KEY": "x" * 16,
        "CELESTA_DATABASE_URL": "postgresql://d",
        "CELESTA_REDIS_URL": "redis://r",
    }
    config = Config.from_env(secrets | environ)
    assert config.executor == "kubernetes"
    assert config.store_url.startswith("s3://")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_steps_get_their_runtime_from_the_image_of_the_roles(overlay: str) -> None:
    images = {box["image"] for _, pod in pods(overlay) for box in pod["containers"] if "celesta" in box["image"]}
    assert images == {settings(overlay)["CELESTA_RUNTIME_IMAGE"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_image_that_was_loaded_into_the_nodes_is_used(overlay: str) -> None:
    """Of `latest` a cluster asks a registry each time, unless it is told not to."""
    for name, pod in pods(overlay):
        for box in pod["containers"] + pod.get("initContainers", []):
            tag = box["image"].rpartition("/")[2].partition(":")[2] or "latest"
            assert box.get("imagePullPolicy") == "IfNotPresent" or tag != "latest", (name, box["image"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_port_is_bound_exposed_served_and_called_back(overlay: str) -> None:
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    container = named(overlay, "Deployment", "celesta-web")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][-1] == f"0.0.0.0:{exposed}"
    assert [port["containerPort"] for port in container["ports"]] == [int(exposed)]
    service = named(overlay, "Service", "celesta-web")
    assert service["spec"]["ports"] == [{"name": "http", "port": int(exposed), "targetPort": "http"}]
    namespace = service["metadata"]["namespace"]
    assert settings(overlay)["CELESTA_STEP_API_URL"] == f"http://celesta-web.{namespace}.svc:{exposed}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_proves_its_work_to_a_probe(overlay: str) -> None:
    for name, _, container in ours(overlay):
        if name == "celesta-web":
            paths = [container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")]
            assert paths == ["/readyz", "/healthz"]
        elif container["args"][0] == "server":
            command = container["livenessProbe"]["exec"]["command"]
            assert command[0] == "celesta"
            assert resolve(command[1:]).name == "alive"
            assert [one["name"] for one in container["env"]] == ["CELESTA_ALIVE_FILE"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_passes_the_restricted_standard_on_a_read_only_root(overlay: str) -> None:
    namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind(overlay, "Namespace")}
    assert {labels["pod-security.kubernetes.io/enforce"] for labels in namespaces.values()} == {"restricted"}
    for name, pod in pods(overlay):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_user_of_the_pods_is_that_of_the_image(overlay: str) -> None:
    (uid,) = re.findall(r"--uid (\d+)", DOCKERFILE)
    assert {pod["securityContext"]["runAsUser"] for _, pod, _ in ours(overlay)} == {int(uid)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_right_is_cluster_wide_and_only_who_needs_one_holds_a_token(overlay: str) -> None:
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding")
    holders = {name for name, pod in pods(overlay) if pod["automountServiceAccountToken"]}
    assert holders - {"secrets"} == {"celesta-worker", "celesta-recorder", "celesta-watcher"}


def test_the_control_plane_may_do_with_pods_what_it_does_and_no_more() -> None:
    rules = {
        one["metadata"]["name"]: {(rule["resources"][0], verb) for rule in one["rules"] for verb in rule["verbs"]}
        for one in PROJECT
        if one["kind"] == "Role"
    }
    told = {
        ("pods/log", "get"),
        ("events", "list"),
    }  # that the code uses them is tests/integration/kubernetes/test_rights
    assert rules["celesta-worker"] == {("pods", verb) for verb in ("create", "get", "delete")} | told
    assert rules["celesta-watcher"] == {("pods", verb) for verb in ("get", "list", "watch", "delete")} | told
    for binding in (one for one in PROJECT if one["kind"] == "RoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["name"] == binding["roleRef"]["name"]
        assert named("dev", "ServiceAccount", subject["name"])["metadata"]["namespace"] == subject["namespace"]


def test_a_projects_namespace_is_the_one_that_the_executor_uses() -> None:
    (namespace,) = [one["metadata"]["name"] for one in PROJECT if one["kind"] == "Namespace"]
    assert namespace == settings("dev")["CELESTA_NAMESPACE"].replace("{project}", "default")
    placed = {one["metadata"]["namespace"] for one in PROJECT if one["kind"] != "Namespace"}
    assert placed == {namespace}
    assert {"ResourceQuota", "LimitRange", "NetworkPolicy"} <= {one["kind"] for one in PROJECT}


def test_provisioning_makes_the_manifests_of_the_project_for_another_name() -> None:
    made = objects("default", ClusterConfig())
    assert made == PROJECT
    other = objects("vision", ClusterConfig(namespace="ml-{project}"), {"gpu": "2", "memory": "64Gi"}, "platform")
    assert {one["metadata"].get("namespace", one["metadata"]["name"]) for one in other} == {"ml-vision"}
    assert other[0]["metadata"]["labels"]["celesta.dev/project"] == "vision"
    text = yaml.safe_dump_all(other)
    assert not re.search(r"celesta-default|name: default|namespace: celesta$", text, re.M)
    (quota,) = [one["spec"]["hard"] for one in other if one["kind"] == "ResourceQuota"]
    assert (quota["requests.nvidia.com/gpu"], quota["requests.memory"], quota["pods"]) == ("2", "64Gi", "2000")
    for version in VERSIONS:
        for document in other:
            kubernetes_validate.validate(document, version, strict=True)


def test_no_secret_stands_in_a_file() -> None:
    for overlay in OVERLAYS:
        assert not of_kind(overlay, "Secret")
        assert not any(re.search("PASSWORD|SECRET|TOKEN", key) for key in settings(overlay))


def test_production_keeps_one_of_each_role_when_a_node_is_drained_and_scales_by_the_queue() -> None:
    for role in SERVED - {"recorder"}:
        assert named("production", "Deployment", f"celesta-{role}")["spec"]["replicas"] >= 2
    for role in SERVED:
        budget = named("production", "PodDisruptionBudget", f"celesta-{role}")["spec"]
        labels = named("production", "Deployment", f"celesta-{role}")["spec"]["template"]["metadata"]["labels"]
        assert budget["selector"]["matchLabels"] == labels
        assert budget["maxUnavailable"] == 1
    (trigger,) = named("production", "ScaledObject", "celesta-worker")["spec"]["triggers"]
    health = (ROOT / "app/api/health.py").read_text()
    metric, label = re.fullmatch(r'(\w+)\{(\w+)="\w+"\}', trigger["metadata"]["valueLocation"]).groups()  # type: ignore[union-attr]
    assert re.search(rf'"{metric}", "[^"]+", "{label}"', health)
    assert f'"{QUEUE_STEPS}"' in trigger["metadata"]["valueLocation"]
    host = named("production", "Ingress", "celesta")["spec"]["rules"][0]["host"]
    assert settings("production")["CELESTA_URL"] == f"https://{host}"


def test_what_runs_inside_in_dev_is_reached_by_the_roles_alone() -> None:
    for name in ("postgres", "redis", "minio"):
        policy = named("dev", "NetworkPolicy", name)["spec"]
        assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        callers = [
            one["podSelector"]["matchLabels"]
            for rule in policy["ingress"]
            for one in rule["from"]
            if "podSelector" in one
        ]
        assert callers == [{"app.kubernetes.io/name": "celesta"}]
