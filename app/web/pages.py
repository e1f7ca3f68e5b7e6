"""What all pages share: the blueprint, the context of every template, and how a page is told its place."""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, g, render_template, request, url_for

from app.access import authenticate
from app.db import db
from app.guard import PUBLIC, Authenticate, allow, principal
from app.models import Project
from app.services import project_query
from app.services.blob_access import put_upload
from app.services.paging import Page
from app.stores import store
from app.web.forms import LaunchForm
from app.web.safety import check_form

web = Blueprint("web", __name__)
web.before_request(check_form)
ASSET_SECONDS = 365 * 24 * 3600
View = TypeVar("View", bound=Callable[..., Any])


def page(
    path: str, role: str, *, method: str = "GET", raw: bool = False, by: Authenticate = authenticate
) -> Callable[[View], View]:
    """A view of the dashboard with its permission; as in `app.guard.allow`."""

    def declare(view: View) -> View:
        web.route(path, methods=[method])(allow(role, raw=raw, by=by)(view))
        return view

    return declare


def show(template: str, section: str = "", **context: Any) -> str:
    """A page of a project, or of none."""
    project: Project | None = g.get("project")
    may_edit = project is not None and principal().may("editor", project.id)
    return render_template(template, section=section, project=project, may_edit=may_edit, **context)


def sent_form(project: Project, interface: dict[str, Any]) -> LaunchForm:
    """The inputs that this request sends, and its files in the store, as uploads to the project."""
    keep = partial(put_upload, db.session, store(), project.id)
    return LaunchForm.sent(interface, request.form, request.files, keep)


def projects() -> list[str]:
    """The names for the project picker."""
    return [project.name for project in project_query.visible(db.session, principal())]


def page_url(**changes: Any) -> str:
    """This page with other query arguments; an empty one is left out."""
    merged: dict[str, Any] = {**request.args.to_dict(flat=False), **changes}
    query = urlencode({name: value for name, value in merged.items() if value not in ("", [""], None)}, doseq=True)
    # Only what the path holds: `url_for` takes some names for words of its own, and a query may have any.
    path: dict[str, Any] = {
        name: held.name if isinstance(held, Project) else held for name, held in (request.view_args or {}).items()
    }
    return url_for(str(request.endpoint), **path) + (f"?{query}" if query else "")


def cursor() -> str:
    """Where in a listing the page begins; empty at its first one."""
    return request.args.get("cursor", "")


def neighbours(found: Page[Any]) -> dict[str, str | None]:
    """What the pager of a listing links to: `first_page` and `next_page`, where there are such."""
    return {
        "first_page": page_url(cursor="") if cursor() else None,
        "next_page": page_url(cursor=found.next_cursor) if found.next_cursor else None,
    }


@page("/assets/<version>/<path:filename>", PUBLIC)
def asset(version: str, filename: str) -> Response:
    """A static file. The version is part of the path, so that modules import each other in the version they are of."""
    response = current_app.send_static_file(filename)
    response.cache_control.max_age = ASSET_SECONDS
    response.cache_control.public = True
    response.cache_control.immutable = True
    return response


def static_url(path: str) -> str:
    """The address of a static file, which a browser may keep: it changes when any of our files does."""
    return url_for("web.asset", version=_version(Path(str(current_app.static_folder))), filename=path)


@lru_cache(maxsize=2)
def _version(folder: Path) -> str:
    seen = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        seen.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return seen.hexdigest()[:12]
