"""Which bytes a project was given with the inputs of its runs

Revision ID: 0015
Revises: 0014
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

FETCHED = 1_000
PAGE = sa.text("SELECT id, project_id, inputs, created_at FROM run WHERE id > :last ORDER BY id LIMIT :most")
ADD = sa.text("INSERT INTO upload (project_id, digest, at) VALUES (:project, :digest, :at) ON CONFLICT DO NOTHING")


def upgrade() -> None:
    """From now on a launch writes it down; of the runs that there are it is made up for, some at a time."""
    connection, last = op.get_bind(), ""
    while runs := connection.execute(PAGE, {"last": last, "most": FETCHED}).all():
        last = runs[-1].id
        rows = [
            {"project": run.project_id, "digest": digest, "at": run.created_at}
            for run in runs
            for digest in _blobs(json.loads(run.inputs) if isinstance(run.inputs, str) else run.inputs or {})
        ]
        if rows:
            connection.execute(ADD, rows)


def downgrade() -> None:
    """What a project has it keeps: what else it was given is not told apart."""


def _blobs(inputs: dict[str, Any]) -> Iterator[str]:
    for ref in inputs.values():
        if "blob" in ref and not {"inline", "items"} & ref.keys():  # such a blob beside the value was not looked at
            yield ref["blob"]
