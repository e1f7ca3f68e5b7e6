"""Questions of runs and their answers

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SETTLED = ("succeeded", "failed", "cached", "skipped", "upstream_failed", "cancelled")
BEFORE = ("waiting", "running", "backoff", *SETTLED)
STATES = ("waiting", "running", "backoff", "parked", *SETTLED)


def upgrade() -> None:
    with op.batch_alter_table("step") as batch:
        batch.add_column(sa.Column("parked", sa.JSON(none_as_null=True), nullable=True))
        batch.drop_constraint(op.f("ck_step_state"), type_="check")
        batch.create_check_constraint(op.f("ck_step_state"), _one_of(STATES))
    op.create_table(
        "answer",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("answered_by", sa.String(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_answer_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "node", name=op.f("pk_answer")),
    )


def downgrade() -> None:
    op.drop_table("answer")
    op.execute("UPDATE step SET state = 'waiting' WHERE state = 'parked'")
    with op.batch_alter_table("step") as batch:
        batch.drop_constraint(op.f("ck_step_state"), type_="check")
        batch.create_check_constraint(op.f("ck_step_state"), _one_of(BEFORE))
        batch.drop_column("parked")


def _one_of(states: tuple[str, ...]) -> str:
    return f"state IN ({', '.join(repr(state) for state in states)})"
