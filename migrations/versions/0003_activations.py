"""Which version was active when, and the environment of a version

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("version", sa.Column("environment", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "activation",
        sa.Column("id", Big, nullable=False),
        sa.Column("workflow_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("before_id", Big, nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action IN ('register', 'activate', 'rollback')", name=op.f("ck_activation_action")),
        sa.ForeignKeyConstraint(
            ["before_id"], ["activation.id"], name=op.f("fk_activation_before_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["version.id"], name=op.f("fk_activation_version_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_activation_workflow_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activation")),
    )
    op.create_index(op.f("ix_activation_workflow_id_id"), "activation", ["workflow_id", "id"])
    # Every registration made its version the active one: so far, the order of the versions tells the whole history.
    op.execute(
        "INSERT INTO activation (workflow_id, version_id, action, by, at) "
        "SELECT workflow_id, id, 'register', created_by, created_at FROM version ORDER BY id"
    )
    op.execute(
        "UPDATE activation SET before_id = (SELECT max(earlier.id) FROM activation AS earlier "
        "WHERE earlier.workflow_id = activation.workflow_id AND earlier.id < activation.id)"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_activation_workflow_id_id"), table_name="activation")
    op.drop_table("activation")
    op.drop_column("version", "environment")
