"""A label names one version of a workflow

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NAME = "ix_version_workflow_id_label"


def upgrade() -> None:
    """Of several versions with one label the newest keeps it: that is the one which it has named."""
    op.execute(
        "UPDATE version SET label = NULL WHERE label IS NOT NULL AND EXISTS ("
        "SELECT 1 FROM version AS later WHERE later.workflow_id = version.workflow_id AND later.label = version.label "
        "AND (later.created_at > version.created_at "
        "OR (later.created_at = version.created_at AND later.id > version.id)))"
    )
    op.create_index(NAME, "version", ["workflow_id", "label"], unique=True)


def downgrade() -> None:
    op.drop_index(NAME, "version")
