"""Looks up the registered workflows that a spec refers to, as its author may see them, and links them in.

Called by `version_register` before a version is stored, so that a version never changes with what it refers to.
"""

import json
from typing import Any

from app.access import Principal, project_for
from app.compiler.link import Target, link, references_of
from app.models import Project
from app.services.share_find import shared_home
from app.services.version_find import find_version
from celesta.errors import AccessError, InputError, NotFoundError, Problem, SpecError
from celesta.spec.shapes import REFERENCE
from celesta.store import Store

Document = dict[str, Any]


def link_references(session: Any, store: Store, principal: Principal, project: Project, spec: Document) -> Document:
    """The spec itself when it refers to nothing. Raises `SpecError` with all that is not found or does not fit."""
    targets: dict[str, Target] = {}
    problems: list[Problem] = []
    for text, path in references_of(spec).items():
        try:
            targets[text] = _target(session, store, principal, project, text)
        except (AccessError, InputError, NotFoundError) as error:
            problems.append(Problem(f"steps.{path}.reference", f"{text}: {error}"))
    if problems:
        raise SpecError("the spec cannot run", problems)
    return link(spec, targets) if targets else spec


def _target(session: Any, store: Store, principal: Principal, project: Project, text: str) -> Target:
    found = REFERENCE.fullmatch(text)
    if found is None:
        raise InputError("names no registered workflow")
    home = _home(session, principal, project, found["project"], found["name"])
    version = find_version(session, home, found["name"], found["version"])
    record = {"project": home.name, "workflow": found["name"], "version": version.digest}
    spec = json.loads(store.get_blob(version.spec_blob))
    return Target(f"{home.name}/{found['name']}@{version.digest[:12]}", spec, record)


def _home(session: Any, principal: Principal, project: Project, owner: str | None, name: str) -> Project:
    """The project that a name belongs to: this one, one that the author may see, or one that shares it with this."""
    if owner is None or owner == project.name:
        return project
    try:
        return project_for(session, principal, owner, "viewer")
    except NotFoundError:
        return shared_home(session, project, owner, name)
