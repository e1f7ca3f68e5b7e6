"""`celesta projects provision`: the namespace of a project, with its quota, its limits, its network and its roles.

`python -I -m workers.executors.kubernetes.provision P` is what that command becomes. The objects are those of
`k8s/project`, for another name. Applies them as whoever runs it: the servers hold no such rights. Harmless when all is
there already; what people have changed of other fields stays.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from app import ROOT
from app.cluster_config import ClusterConfig
from app.config import Config
from celesta.cli.exits import exit_status
from celesta.errors import CelestaError, InputError, Problem
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.labels import DOMAIN

Document = dict[str, Any]

FOLDER = ROOT / "k8s" / "project"
SERVERS = "celesta"
"""Namespace of the control plane in the manifests."""
QUOTA = {"pods": "pods", "cpu": "requests.cpu", "memory": "requests.memory", "gpu": "requests.nvidia.com/gpu"}
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def objects(
    project: str, config: ClusterConfig, quota: Mapping[str, str] | None = None, servers: str = SERVERS
) -> list[Document]:
    """The objects of a project, in the order in which they are made; `quota` by the names of `QUOTA`."""
    namespace = config.namespace_of(project)
    plan = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    texts = ((FOLDER / name).read_text() for name in plan["resources"])
    found = [document for text in texts for document in yaml.safe_load_all(text)]
    for document in found:
        _rename(document, project, namespace, servers)
        if document["kind"] == "ResourceQuota":
            document["spec"]["hard"] |= {QUOTA[name]: value for name, value in (quota or {}).items()}
    return found


def apply(cluster: Cluster, documents: Iterable[Document]) -> None:
    """Makes the objects, or makes them so. Raises `Refused`, `ClusterError`."""
    for document in documents:
        metadata = document["metadata"]
        cluster.apply(f"{_PATHS[document['kind']].format(metadata.get('namespace'))}/{metadata['name']}", document)


def _rename(document: Document, project: str, namespace: str, servers: str) -> None:
    """The files are those of the project `default`."""
    metadata = document["metadata"]
    if document["kind"] == "Namespace":
        metadata["name"] = namespace
        metadata["labels"][f"{DOMAIN}/project"] = project
        return
    metadata["namespace"] = namespace
    for subject in document.get("subjects") or ():
        subject["namespace"] = servers
    for rule in document.get("spec", {}).get("egress") or ():
        for peer in rule.get("to") or ():
            labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if labels.get("kubernetes.io/metadata.name") == SERVERS:
                labels["kubernetes.io/metadata.name"] = servers


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="celesta projects provision")
    parser.add_argument("project")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--servers", default=SERVERS)
    for name in QUOTA:
        parser.add_argument(f"--{name}")
    options = parser.parse_args(arguments)
    quota = {name: value for name in QUOTA if (value := getattr(options, name)) is not None}
    try:
        config = Config.from_env().cluster
        if "{project}" not in config.namespace:
            raise InputError(
                [Problem("CELESTA_NAMESPACE", f"is {config.namespace!r}: all projects share it; set it up once")]
            )
        made = objects(options.project, config, quota, options.servers)
        if not options.dry_run:
            apply(Cluster(config), made)
    except CelestaError as error:
        sys.stderr.write(f"Error: {error}\n")
        return exit_status(error)
    if options.json:
        sys.stdout.write(json.dumps({"namespace": made[0]["metadata"]["name"], "objects": made}, indent=2) + "\n")
    elif options.dry_run:
        sys.stdout.write(yaml.safe_dump_all(made, sort_keys=False))
    else:
        sys.stderr.write(f"Namespace {made[0]['metadata']['name']} is ready for the steps of {options.project}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
