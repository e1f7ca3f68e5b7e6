"""A real cluster, where KUBECONFIG names one: a namespace of our own in it, and a stack here whose steps run there.

Needs besides KUBECONFIG, in the environment: CELESTA_TEST_IMAGE, an image with Python that the cluster has or can pull;
CELESTA_TEST_STORE_URL, an `s3://` store that this machine can reach, with CELESTA_TEST_S3_ENDPOINT_URL off AWS (and the
variables by which boto3 finds credentials); CELESTA_TEST_API_URL, `http://HOST:PORT` at which pods reach this machine,
where the tests listen. CELESTA_TEST_NAMESPACE names a namespace to use instead of a new one.
"""

import os
import secrets
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client as kube
from kubernetes import config as kube_config

from app.cluster_config import ClusterConfig
from celesta.settings import server_command
from tests.e2e.test_kubernetes import PodStack
from tests.fixtures.home import short_directory
from tests.fixtures.playground import playground_config, serving
from tests.fixtures.processes import answers, server, wait_until
from tests.fixtures.stack import running_stack
from tests.integration.kubernetes.bench import PodBench, pod_bench
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.labels import selector

NEEDED = ("KUBECONFIG", "CELESTA_TEST_IMAGE", "CELESTA_TEST_STORE_URL", "CELESTA_TEST_API_URL")


class RealCluster:
    """The one namespace of the tests; what they ask of it is what they ask of the cluster that only seems to be one."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.client = Cluster(ClusterConfig(kubeconfig=os.environ["KUBECONFIG"]))

    def names(self) -> list[str]:
        pods, _ = self.client.pods(self.namespace, selector(self.namespace))
        return sorted(pod["metadata"]["name"] for pod in pods)

    def pod(self, name: str, _namespace: str = "") -> dict[str, Any]:
        return self.client.pod(self.namespace, name) or {"status": {}}

    def remove(self, name: str, _namespace: str = "") -> None:
        self.client.delete_pod(self.namespace, name)


class AnyNode:
    """Nodes whose images are what they are."""

    python = ""


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    """A namespace that takes nothing but pods of the restricted standard, with the secret of a task."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"NO CLUSTER IS TESTED: {', '.join(missing)} not set (see tests/cluster/conftest.py)")
    kube_config.load_kube_config(os.environ["KUBECONFIG"])
    api, given = kube.CoreV1Api(), os.environ.get("CELESTA_TEST_NAMESPACE")
    name = given or f"celesta-test-{secrets.token_hex(3)}"
    if not given:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.create_namespace({"metadata": {"name": name, "labels": labels}})
    try:
        data = {"THE_PASSWORD": b64encode(b"emases").decode()}
        with suppress(kube.ApiException):  # of a namespace that was used before
            api.create_namespaced_secret(name, {"metadata": {"name": "celesta-secrets"}, "data": data})
        yield name
    finally:
        if not given:
            api.delete_namespace(name)


@pytest.fixture(scope="module")
def bench(namespace: str, redis_server: str, upgraded_sqlite: Path) -> Iterator[PodBench]:
    """Pods of the cluster for the contract of all executors, and an API of this process that they call back."""
    api_url = os.environ["CELESTA_TEST_API_URL"]
    settings = {
        "store_url": f"{os.environ['CELESTA_TEST_STORE_URL'].rstrip('/')}/{namespace}",
        "s3_endpoint_url": os.environ.get("CELESTA_TEST_S3_ENDPOINT_URL"),
        "runtime_image": os.environ["CELESTA_TEST_IMAGE"],
        "secret_key": secrets.token_hex(),
        "loopback_auth": False,
    }
    cluster = ClusterConfig(kubeconfig=os.environ["KUBECONFIG"], namespace=namespace, deployment=f"{namespace}-bench")
    with short_directory("celesta-pod-bench-") as home:
        shutil.copyfile(upgraded_sqlite, home / "celesta.db")
        config = replace(playground_config(home, redis_server), **settings)
        with (
            serving(config, "0.0.0.0", urlsplit(api_url).port or 80) as playground,
            pod_bench(playground, cluster, 300, url=api_url) as made,
        ):
            yield made


@pytest.fixture(scope="module")
def pod_stack(namespace: str) -> Iterator[PodStack]:
    """A stack of this machine, and beside it the web role that pods call back."""
    image, api_url = os.environ["CELESTA_TEST_IMAGE"], os.environ["CELESTA_TEST_API_URL"]
    settings = {
        "CELESTA_EXECUTOR": "kubernetes",
        "CELESTA_NAMESPACE": namespace,
        "CELESTA_DEPLOYMENT": namespace,
        "CELESTA_RUNTIME_IMAGE": image,
        "CELESTA_STORE_URL": f"{os.environ['CELESTA_TEST_STORE_URL'].rstrip('/')}/{namespace}",
        "CELESTA_STEP_API_URL": api_url,
        "CELESTA_SECRET_KEY": secrets.token_hex(),
        "SHOUT_IMAGE": image,
    }
    if endpoint := os.environ.get("CELESTA_TEST_S3_ENDPOINT_URL"):
        settings["CELESTA_S3_ENDPOINT_URL"] = endpoint
    with ExitStack() as exits:
        stack = exits.enter_context(running_stack("--workers", 1, **settings))
        port = urlsplit(api_url).port or 80
        web = server_command("workers.server", "web", "--bind", f"0.0.0.0:{port}")
        argv = ["env", *(f"{name}={value}" for name, value in _of_web(stack.environment).items()), *web]
        exits.enter_context(server(argv, Path(stack.home, "logs", "api.log")))
        wait_until(lambda: answers(port), 60, "the API for pods")
        yield PodStack(stack, RealCluster(namespace), AnyNode())  # type: ignore[arg-type]


def _of_web(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("CELESTA_")} | {
        "CELESTA_LOOPBACK_AUTH": "off",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
