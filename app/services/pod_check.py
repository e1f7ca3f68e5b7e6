"""Refuses pod templates of tasks that ask for more than the operator allows: host access, privileges, others' objects.

Asked when a workflow is registered and when it is launched, where steps are pods, and by the executor before it makes
one: a version may be older than a setting. Templates in the operator's own folder are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from app.cluster_config import ClusterConfig
from app.compiler.plan import Plan
from app.config import Config
from app.pod_security import CONTAINER_CONTEXT, CONTAINERS, breaches, fields_of, hardened
from celesta.errors import InputError, Problem, SpecError
from celesta.pod_template import merge

Document = dict[str, Any]
MOST_PROBLEMS = 20
ADVICE = (
    "these pod templates ask for what no task may have here; leave it out, or ask the operator, who can allow it to "
    "all tasks (CELESTA_POD_SECURITY, CELESTA_POD_OBJECTS) or give it to a project (CELESTA_POD_TEMPLATES)"
)
_STEP: Document = {
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [{"name": "step", "securityContext": CONTAINER_CONTEXT}],
    }
}


def require_templates_of_spec(spec: Document, config: Config, project: str) -> None:
    """Raises `SpecError` with all that the steps of a valid spec may not ask of their pods."""
    given: dict[tuple[str, str], Document] = {}
    for step in spec["steps"]:
        options = step.get("options") or {}
        where = f"steps.{step['path']}.options" if "pod_template" in options else f"tasks.{step.get('task')}"
        wanted = spec["tasks"].get(step.get("task"), {}) | options
        given[where, wanted.get("executor") or config.executor] = wanted  # of one task some steps may be no pods
    problems = list(_problems(((where, wanted) for (where, _), wanted in given.items()), config, project))
    if problems:
        raise SpecError(ADVICE, problems[:MOST_PROBLEMS])


def require_templates(plan: Plan, config: Config, project: str) -> None:
    """Raises `InputError` with all that the steps of a plan may not ask of their pods."""
    problems = list(_problems(((f"steps.{step['path']}", step) for step in plan.steps), config, project))
    if problems:
        raise InputError(ADVICE, problems[:MOST_PROBLEMS])


def require_template(template: Mapping[str, Any], config: ClusterConfig, project: str, where: str) -> None:
    """Raises `InputError` with all that this template, of a task, may not ask for."""
    problems = [
        Problem(f"{where}.{problem.where}", problem.message) for problem in _of_template(template, config, project)
    ]
    if problems:
        raise InputError(ADVICE, problems[:MOST_PROBLEMS])


def _of_template(template: Mapping[str, Any], config: ClusterConfig, project: str) -> Iterator[Problem]:
    pod = hardened(merge(_STEP, template))
    yield from breaches(pod, config.pod_security)
    allowed = config.objects_of(project)
    for where, name in _named(pod["spec"]):
        if not any(fnmatchcase(name, pattern) for pattern in allowed):
            yield Problem(
                where, f"{name!r} is not for tasks of {project}; they may name {', '.join(allowed) or 'none'}"
            )


def _problems(given: Iterable[tuple[str, Mapping[str, Any]]], config: Config, project: str) -> Iterator[Problem]:
    for where, options in given:
        template = options.get("pod_template")
        if template and (options.get("executor") or config.executor) == "kubernetes":
            for problem in _of_template(template, config.cluster, project):
                yield Problem(f"{where}.pod_template.{problem.where}", problem.message)


def _named(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The objects of the namespace, and the volumes of the cluster, that a pod names, and where."""
    accounts = [(f"spec.{field}", str(spec[field])) for field in _ACCOUNT if spec.get(field)]
    yield from accounts or ((where, "default") for where in _tokens(spec))
    for secret in spec.get("imagePullSecrets") or ():
        yield "spec.imagePullSecrets", str(secret["name"])
    yield from _references(spec.get("resourceClaims"), "spec.resourceClaims")
    for volume in spec.get("volumes") or ():
        yield from _references(volume, f"spec.volumes[{volume['name']}]")
    for group in CONTAINERS:
        for container in spec.get(group) or ():
            for field in ("env", "envFrom"):
                yield from _references(container.get(field), f"spec.{group}[{container['name']}].{field}")


_ACCOUNT = ("serviceAccountName", "serviceAccount")


def _tokens(spec: Mapping[str, Any]) -> Iterator[str]:
    """Where a pod asks for the token of its account: that of `default`, when it names none."""
    if spec.get("automountServiceAccountToken", True):  # Kubernetes gives it to who says nothing; our own pods say no.
        yield "spec.automountServiceAccountToken"
    for volume in spec.get("volumes") or ():
        sources = fields_of(volume.get("projected")).get("sources")
        if isinstance(sources, list) and any("serviceAccountToken" in fields_of(source) for source in sources):
            yield f"spec.volumes[{volume['name']}].projected"


_HOLDERS = frozenset(
    (
        "configMap",
        "configMapKeyRef",
        "configMapRef",
        "dataSource",
        "dataSourceRef",
        "nodePublishSecretRef",
        "secret",
        "secretKeyRef",
        "secretRef",
    )
)
"""What refers to an object by its `name`."""
_NAMES = frozenset(
    (
        "claimName",
        "resourceClaimName",
        "resourceClaimTemplateName",
        "secretName",
        "secretProviderClass",
        "volumeName",
    )
)
"""What is the name of an object, whatever it is in."""


def _references(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """At any depth, so that a kind of volume that is new to us is looked into as well."""
    if isinstance(value, list):
        for item in value:
            yield from _references(item, where)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if key in _NAMES and part:
                yield f"{where}.{key}", str(part)
            elif key in _HOLDERS and isinstance(part, Mapping) and part.get("name"):
                yield f"{where}.{key}", str(part["name"])
            yield from _references(part, where)
