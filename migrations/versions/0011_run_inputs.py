"""The inputs of runs by digest, for lineage across runs

Revision ID: 0011
Revises: 0010
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FETCHED = 1_000


def upgrade() -> None:
    table = op.create_table(
        "run_input",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_run_input_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_input_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_input")),
    )
    op.create_index(op.f("ix_run_input_digest"), "run_input", ["digest"])
    _fill(table)


def downgrade() -> None:
    op.drop_index(op.f("ix_run_input_digest"), table_name="run_input")
    op.drop_table("run_input")


def _fill(table: sa.Table) -> None:
    """The inputs of the runs that there are, some at a time."""
    connection, last = op.get_bind(), ""
    page = sa.text("SELECT id, project_id, inputs FROM run WHERE id > :last ORDER BY id LIMIT :most")
    while runs := connection.execute(page, {"last": last, "most": FETCHED}).all():
        last = runs[-1].id
        rows = [
            {"run_id": run.id, "name": name, "project_id": run.project_id, "digest": ref["digest"]}
            for run in runs
            for name, ref in (json.loads(run.inputs) if isinstance(run.inputs, str) else run.inputs or {}).items()
            if ref["type"] not in ("json", "list") or "blob" in ref or ref["size"] >= 64
        ]
        if rows:
            op.bulk_insert(table, rows)
