"""Schedules: workflows that are launched at the times of a cron expression."""

from flask import Response
from marshmallow import Schema, fields

from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.guard import principal
from app.models import Project
from app.services import schedule_query
from app.services.schedule_create import create_schedule
from app.services.schedule_delete import delete_schedule
from app.stores import store

routes = Noun("schedules", "Workflows that run by the clock")


class NewSchedule(Schema):
    name = fields.String(required=True)
    workflow = fields.String(required=True)
    cron = fields.String(required=True, metadata={"description": "five fields, as in `0 6 * * 1-5`"})
    timezone = fields.String(load_default="UTC")
    version = fields.String(load_default=None, allow_none=True, metadata={"description": "none: the active one"})
    inputs = fields.Dict(keys=fields.String(), load_default=dict, metadata={"description": "plain values by name"})


class ScheduleDocument(Schema):
    name = fields.String()
    workflow = fields.String()
    version = fields.String(allow_none=True)
    cron = fields.String()
    timezone = fields.String()
    inputs = fields.Dict()
    paused = fields.Boolean()
    created_by = fields.String()
    created_at = moment()
    last_fire_at = moment()
    next_fire_at = moment()
    last_run_id = fields.String(allow_none=True)
    last_error = fields.String(allow_none=True, metadata={"description": "why the last fire launched no run"})


SchedulePage = page_schema(ScheduleDocument)


@routes.route("GET", "/projects/<project>/schedules", "viewer", query=PageArguments, answer=SchedulePage)
def list_schedules(given: Json, project: Project) -> Response:
    """The schedules of a project by name"""
    found = schedule_query.page(db.session, project, **given)
    return page_answer(schedule_query.documents(db.session, found.items), found.next_cursor)


@routes.route("POST", "/projects/<project>/schedules", "editor", body=NewSchedule, answer=ScheduleDocument, status=201)
def create(given: Json, project: Project) -> Response:
    """Make a schedule; its runs are its maker's"""
    made = create_schedule(db.session, store(), principal(), project, **given)
    return answer_with(_document(project, made.name), 201)


@routes.route("GET", "/projects/<project>/schedules/<name>", "viewer", answer=ScheduleDocument)
def show(project: Project, name: str) -> Response:
    """One schedule, and how its last fire went"""
    return answer_with(_document(project, name))


@routes.route("DELETE", "/projects/<project>/schedules/<name>", "editor", status=204)
def delete(project: Project, name: str) -> Response:
    """End a schedule; its runs stay"""
    delete_schedule(db.session, principal(), project, name)
    return Response(status=204)


def _document(project: Project, name: str) -> Json:
    return schedule_query.documents(db.session, [schedule_query.get(db.session, project, name)])[0]
