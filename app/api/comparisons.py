"""Runs held against each other: the difference of two, a table of many, and whether one came out the same again."""

from flask import Response
from marshmallow import Schema, fields, validate

from app.api.noun import Noun
from app.api.runs import RunDocument
from app.api.runs import document as run_document
from app.api.schemas import Json, answer_with, moment
from app.db import current_config, db
from app.guard import principal
from app.models import Project
from app.services import reproduction_query, run_again, run_compare, run_diff, run_query
from app.stores import store

routes = Noun("comparisons", "Runs held against each other")
VERDICTS = (reproduction_query.IDENTICAL, reproduction_query.DIFFERENT, reproduction_query.NOT_COMPARABLE)


class RunInBrief(Schema):
    run_id = fields.String()
    workflow = fields.String()
    version = fields.String()
    status = fields.String()
    created_by = fields.String()
    created_at = moment()
    duration_seconds = fields.Float(allow_none=True)


class Divergence(Schema):
    path = fields.String()
    why = fields.String()


class Difference(Schema):
    runs = fields.List(fields.Nested(RunInBrief), metadata={"description": "the first and the second run"})
    note = fields.String(metadata={"description": "what limits the comparison; empty when nothing does"})
    same = fields.Boolean(metadata={"description": "every step made the same"})
    first_divergence = fields.Nested(Divergence, allow_none=True)
    inputs = fields.List(fields.Dict())
    outputs = fields.List(fields.Dict())
    code = fields.List(fields.Dict())
    environment = fields.List(fields.Dict())
    counts = fields.Dict(keys=fields.String(), values=fields.Integer())
    steps = fields.List(fields.Dict(), metadata={"description": "pairs are of the first and the second run"})
    steps_left_out = fields.Integer()


class ComparisonArguments(Schema):
    run = fields.List(fields.String(), required=True, metadata={"description": "once for each run"})
    sort = fields.String(load_default="", metadata={"description": "a column, or the unique end of its name"})
    descending = fields.Boolean(load_default=False)


class Row(RunInBrief):
    inputs = fields.Dict()
    metrics = fields.Dict()
    outputs = fields.Dict()


class Comparison(Schema):
    columns = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))
    runs = fields.List(fields.Nested(Row))


class SeriesArguments(Schema):
    run = fields.List(fields.String(), required=True)
    metric = fields.String(required=True, metadata={"description": "a name, or `path.name` for that of one step"})


class Series(Schema):
    run_id = fields.String()
    path = fields.String()
    points = fields.List(fields.Raw(), metadata={"description": "[step, value] in the order of logging"})
    points_left_out = fields.Integer(metadata={"description": "of a long series, evenly"})


class AllSeries(Schema):
    metric = fields.String()
    series = fields.List(fields.Nested(Series))
    series_left_out = fields.Integer(metadata={"description": "there are so many more, or even more"})


class NewReproduction(Schema):
    idempotency_key = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 200))


class StepVerdict(Schema):
    path = fields.String()
    verdict = fields.String(validate=validate.OneOf(VERDICTS))
    how = fields.String(metadata={"description": "a first look at how it differs, or why it cannot be compared"})


class Reproduction(Schema):
    run_id = fields.String()
    origin_run_id = fields.String()
    status = fields.String()
    verdict = fields.String(validate=validate.OneOf(VERDICTS))
    environment = fields.List(fields.Dict(), metadata={"description": "`name`, `before`, `after` of each package"})
    steps = fields.List(fields.Nested(StepVerdict))


class ReproductionInBrief(Schema):
    run_id = fields.String()
    status = fields.String()
    verdict = fields.String(allow_none=True, metadata={"description": "null while it has not ended"})
    created_by = fields.String()
    created_at = moment()


class Reproductions(Schema):
    items = fields.List(fields.Nested(ReproductionInBrief))


@routes.route("GET", "/projects/<project>/runs/<run>/diff/<other>", "viewer", answer=Difference)
def diff(project: Project, run: str, other: str) -> Response:
    """How the second run differs from the first, and at which step they part"""
    pair = [run_query.get(db.session, project, each) for each in (run, other)]
    return answer_with(run_diff.diff(db.session, pair[0], pair[1], store()))


@routes.route("GET", "/projects/<project>/comparison", "viewer", query=ComparisonArguments, answer=Comparison)
def compare(given: Json, project: Project) -> Response:
    """Parameters and metrics of several runs side by side"""
    runs = run_compare.find(db.session, project, given["run"])
    return answer_with(run_compare.compare(db.session, runs, given["sort"], given["descending"]))


@routes.route("GET", "/projects/<project>/comparison/series", "viewer", query=SeriesArguments, answer=AllSeries)
def series(given: Json, project: Project) -> Response:
    """One metric over its steps, for every step of these runs that logged it"""
    runs = run_compare.find(db.session, project, given["run"])
    return answer_with({"metric": given["metric"]} | run_compare.series(db.session, runs, given["metric"]))


@routes.route(
    "POST", "/projects/<project>/runs/<run>/reproduce", "editor", body=NewReproduction, answer=RunDocument, status=201
)
def reproduce(given: Json, project: Project, run: str) -> Response:
    """Run the same version with the same inputs again, without the cache"""
    origin = run_query.get(db.session, project, run)
    key = given["idempotency_key"]
    made = run_again.run_again(
        db.session, current_config(), store(), principal(), project, origin, run_again.reproduce(), key
    )
    return answer_with(run_document(project, run_query.get(db.session, project, made.id)), 201)


@routes.route("GET", "/projects/<project>/runs/<run>/reproduction", "viewer", answer=Reproduction)
def reproduction(project: Project, run: str) -> Response:
    """What came of a reproduction, step by step; 409 for a run that is none, or that has not ended"""
    found = run_query.get(db.session, project, run)
    return answer_with(reproduction_query.document(db.session, project, found, store()))


@routes.route("GET", "/projects/<project>/runs/<run>/reproductions", "viewer", answer=Reproductions)
def reproductions(project: Project, run: str) -> Response:
    """The newest reproductions of a run"""
    found = run_query.get(db.session, project, run)
    return answer_with({"items": reproduction_query.of_origin(db.session, found, store())})
