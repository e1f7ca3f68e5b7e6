"""Runs side by side: their parameters and metrics, metrics over steps, and of two runs where they part."""

from typing import Any

from flask import request

from app.db import db
from app.models import Project, Run
from app.services import run_compare, run_diff
from app.stores import store
from app.web.chart import chart
from app.web.pages import page, page_url, show
from celesta.errors import InputError, Problem

CHARTS = 12
STEPS_SHOWN = 200


@page("/projects/<project>/compare", "viewer")
def compare(project: Project) -> str:
    run_ids = request.args.getlist("run")
    if not run_ids:
        raise InputError([Problem("run", "choose runs to compare in the list of runs")])
    runs = run_compare.find(db.session, project, run_ids)
    sort, descending = request.args.get("sort", ""), "descending" in request.args
    table = run_compare.compare(db.session, runs, sort, descending)
    return show(
        "compare.html",
        "runs",
        table=table,
        rows=list(_rows(table)),
        sort=sort,
        sort_url=lambda name: page_url(run=run_ids, sort=name, descending="" if name != sort or descending else "1"),
        charts=_charts(runs),
        difference=_difference(runs) if len(runs) == 2 else None,
    )


def _rows(table: dict[str, Any]) -> Any:
    """A row of the page for each column of the table: a few runs are compared in many things."""
    for side in run_compare.SIDES:
        for name in table["columns"][side]:
            values = [run[side].get(name) for run in table["runs"]]
            yield {"side": side, "name": name, "values": values, "differs": any(value != values[0] for value in values)}


def _charts(runs: list[Run]) -> list[dict[str, Any]]:
    series = run_compare.all_series(db.session, runs)
    drawn = [{"metric": metric, "chart": chart(found)} for metric, found in sorted(series.items())]
    return [one for one in drawn if one["chart"]][:CHARTS]


def _difference(runs: list[Run]) -> dict[str, Any]:
    found = run_diff.diff(db.session, runs[0], runs[1], store())
    changed = [step for step in found["steps"] if step["change"] != "same"]
    return found | {"changed": changed[:STEPS_SHOWN], "not_shown": len(changed[STEPS_SHOWN:])}
