"""What a project lets another one use

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "share",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.Integer(), nullable=True),
        sa.Column("with_id", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_share_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_share_workflow_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["with_id"], ["project.id"], name=op.f("fk_share_with_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share")),
    )
    op.create_index(op.f("ix_share_project_id_with_id"), "share", ["project_id", "with_id"])
    op.create_index(op.f("ix_share_with_id"), "share", ["with_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_share_with_id"), table_name="share")
    op.drop_index(op.f("ix_share_project_id_with_id"), table_name="share")
    op.drop_table("share")
