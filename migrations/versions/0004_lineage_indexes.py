"""Indexes for lineage and the search for a file's maker

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STORED = sa.text("blob <> digest")
CONTAINER = sa.text("type IN ('directory', 'list')")
HIT = sa.text("state = 'cached'")


def upgrade() -> None:
    op.create_index("ix_artifact_stored", "artifact", ["blob"], sqlite_where=STORED, postgresql_where=STORED)
    op.create_index(
        "ix_artifact_container", "artifact", ["project_id", "id"], sqlite_where=CONTAINER, postgresql_where=CONTAINER
    )
    op.create_index("ix_step_hit", "step", ["cache_key"], sqlite_where=HIT, postgresql_where=HIT)


def downgrade() -> None:
    op.drop_index("ix_step_hit", table_name="step")
    op.drop_index("ix_artifact_container", table_name="artifact")
    op.drop_index("ix_artifact_stored", table_name="artifact")
