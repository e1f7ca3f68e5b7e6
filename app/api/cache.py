"""The cache: what it saved, why a step was a hit or a miss, and what is kept or taken out."""

from flask import Response
from marshmallow import Schema, fields, validate

from app.api.noun import Noun
from app.api.schemas import Json, answer_with, moment
from app.compiler.plan import Plan
from app.db import db
from app.events import hub
from app.guard import principal
from app.models import Project, Run, Step
from app.models.columns import MAX_KEY
from app.services import cache_explain, cache_query, run_query, step_query, workflow_query
from app.services.cache_evict import Wanted, evict
from app.services.cache_keep import pin, set_limit
from app.stores import store
from celesta.spec.options import CENTURY_SECONDS

routes = Noun("cache", "What is not computed again")


class TaskUse(Schema):
    task = fields.String()
    entries = fields.Integer()
    bytes = fields.Integer()
    hits = fields.Integer()
    misses = fields.Integer()
    hit_rate = fields.Float(allow_none=True)
    seconds_saved = fields.Float()


class CacheStats(Schema):
    entries = fields.Integer()
    hits = fields.Integer()
    misses = fields.Integer()
    hit_rate = fields.Float(allow_none=True)
    seconds_saved = fields.Float()
    bytes = fields.Integer(metadata={"description": "a value that several entries hold counts in each"})
    pinned = fields.Integer()
    limit_bytes = fields.Integer(allow_none=True)
    tasks = fields.List(fields.Nested(TaskUse))


class Eviction(Schema):
    task = fields.String(load_default=None, allow_none=True)
    run = fields.String(load_default=None, allow_none=True, metadata={"description": "that computed the entries"})
    older_than_seconds = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, CENTURY_SECONDS))
    larger_than_bytes = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(0, MAX_KEY))
    all = fields.Boolean(load_default=False)
    dry_run = fields.Boolean(load_default=False)


class Evicted(Schema):
    entries = fields.Integer()
    bytes = fields.Integer()
    pinned = fields.Integer(metadata={"description": "fit as well, and stay"})
    dry_run = fields.Boolean()
    more = fields.Boolean(metadata={"description": "there are others; ask again"})
    tasks = fields.List(fields.Dict())


class Pin(Schema):
    pinned = fields.Boolean(required=True)


class Entry(Schema):
    key = fields.String()
    task = fields.String()
    run = fields.String()
    path = fields.String()
    bytes = fields.Integer()
    created_at = moment()
    pinned_by = fields.String(allow_none=True)


class Limit(Schema):
    bytes = fields.Integer(
        required=True, allow_none=True, validate=validate.Range(0, MAX_KEY), metadata={"description": "null: none"}
    )


class Explanation(Schema):
    run_id = fields.String()
    node = fields.String()
    path = fields.String()
    task = fields.String()
    state = fields.String()
    verdict = fields.String(validate=validate.OneOf(("hit", "miss", "off", "open")))
    reason = fields.String()
    key = fields.String(allow_none=True)
    source = fields.Dict(allow_none=True, metadata={"description": "the step that answered"})
    components = fields.Dict(allow_none=True, metadata={"description": "what the key is made of"})
    nearest = fields.Dict(allow_none=True, metadata={"description": "the nearest earlier entry, and what differs"})


@routes.route("GET", "/projects/<project>/cache/stats", "viewer", answer=CacheStats)
def stats(project: Project) -> Response:
    """What the cache holds and what it has saved, in all and by task"""
    return answer_with(cache_query.stats(db.session, project))


@routes.route("POST", "/projects/<project>/cache/evict", "editor", body=Eviction, answer=Evicted)
def evict_entries(given: Json, project: Project) -> Response:
    """Take out the entries that fit all that is given; `dry_run` only tells which"""
    dry_run = given.pop("dry_run")
    return answer_with(evict(db.session, hub().redis, principal(), project, Wanted(**given), dry_run=dry_run))


@routes.route("PUT", "/projects/<project>/cache/limit", "owner", body=Limit, answer=CacheStats)
def limit(given: Json, project: Project) -> Response:
    """The bytes above which the entries that were used least recently are evicted"""
    set_limit(db.session, principal(), project, given["bytes"])
    return answer_with(cache_query.stats(db.session, project))


@routes.route("GET", "/projects/<project>/runs/<run>/steps/<path:node>/cache", "viewer", answer=Explanation)
def explain(project: Project, run: str, node: str) -> Response:
    """Why a step was a hit or a miss, and what differs from the nearest earlier entry"""
    found, plan, step = _step(project, run, node)
    return answer_with(cache_explain.explain(db.session, store(), project, found, plan, step))


@routes.route("PUT", "/projects/<project>/runs/<run>/steps/<path:node>/cache/pin", "editor", body=Pin, answer=Entry)
def pin_entry(given: Json, project: Project, run: str, node: str) -> Response:
    """Keep the entry that a step made or was answered by from being evicted, or let go of it"""
    entry = pin(db.session, principal(), project, _step(project, run, node)[2], given["pinned"])
    return answer_with(cache_query.entry_document(entry))


def _step(project: Project, run_id: str, node: str) -> tuple[Run, Plan, Step]:
    run = run_query.get(db.session, project, run_id)
    plan = workflow_query.load_plan(store(), run.version.plan_blob)
    return run, plan, step_query.get(db.session, run, plan, node, store())
