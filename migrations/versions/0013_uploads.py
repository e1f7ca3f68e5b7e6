"""Which bytes a project was given

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_upload_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "digest", name=op.f("pk_upload")),
    )
    # Code was uploaded before anybody wrote that down; that of versions is in use.
    op.execute(
        "INSERT INTO upload (project_id, digest, at) SELECT project_id, bundle, min(created_at) FROM version "
        "WHERE bundle IS NOT NULL GROUP BY project_id, bundle"
    )


def downgrade() -> None:
    op.drop_table("upload")
