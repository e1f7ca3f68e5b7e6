"""Attempts that were answered by the result of another

Revision ID: 0018
Revises: 0017
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BEFORE = ("running", "succeeded", "failed", "lost", "cancelled")
STATES = ("running", "succeeded", "failed", "lost", "cached", "cancelled")


def upgrade() -> None:
    _allow(STATES)


def downgrade() -> None:
    op.execute("UPDATE attempt SET state = 'cancelled' WHERE state = 'cached'")
    _allow(BEFORE)


def _allow(states: tuple[str, ...]) -> None:
    with op.batch_alter_table("attempt") as batch:
        batch.drop_constraint(op.f("ck_attempt_state"), type_="check")
        batch.create_check_constraint(op.f("ck_attempt_state"), f"state IN ({', '.join(map(repr, states))})")
