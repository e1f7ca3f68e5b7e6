"""Limits of projects, and their shares

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("project", sa.Column("limits", sa.JSON(none_as_null=True), server_default="{}", nullable=False))
    op.add_column("project", sa.Column("weight", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    op.drop_column("project", "weight")
    op.drop_column("project", "limits")
