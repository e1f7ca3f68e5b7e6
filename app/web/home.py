"""Where one begins, and the reference of the REST interface."""

from flask import redirect, url_for
from werkzeug.wrappers import Response

from app.guard import SIGNED_IN
from app.web.pages import page, projects, show

DEFAULT = "default"


@page("/", SIGNED_IN)
def home() -> Response | str:
    """The runs of the default project, or of the only one; else a choice."""
    names = projects()
    only = DEFAULT if DEFAULT in names else names[0] if len(names) == 1 else None
    if only:
        return redirect(url_for("web.runs", project=only))
    return show("home.html", all=names)


@page("/projects", SIGNED_IN)
def all_projects() -> str:
    return show("home.html", all=projects())


@page("/projects/<project>", "viewer")
def project(project: object) -> Response:
    return redirect(url_for("web.runs", project=getattr(project, "name", "")))


@page("/api/v1/docs", SIGNED_IN)
def reference() -> str:
    return show("reference.html")
