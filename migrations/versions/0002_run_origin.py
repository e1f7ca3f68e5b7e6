"""The run that a run goes back to

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("origin_run_id", sa.String(), nullable=True))
    op.add_column("run", sa.Column("origin_kind", sa.String(), nullable=True))
    op.create_index(op.f("ix_run_origin_run_id"), "run", ["origin_run_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_run_origin_run_id"), table_name="run")
    op.drop_column("run", "origin_kind")
    op.drop_column("run", "origin_run_id")
