"""Cache entries that are pinned, shared, and of a size; the limit of a project; which steps an entry answered

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HIT = sa.text("state = 'cached'")
KEYED = sa.text("cache_key IS NOT NULL")


def upgrade() -> None:
    op.add_column("project", sa.Column("cache_limit_bytes", Big, nullable=True))
    with op.batch_alter_table("cache_entry") as table:
        table.add_column(sa.Column("scope", sa.String(), nullable=False, server_default="project"))
        table.add_column(sa.Column("bytes", Big, nullable=False, server_default="0"))
        table.add_column(sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("pinned_by", sa.String(), nullable=True))
        table.create_check_constraint(op.f("ck_cache_entry_scope"), "scope IN ('project', 'organisation')")
    with op.batch_alter_table("cache_entry") as table:
        table.alter_column("scope", existing_type=sa.String(), existing_nullable=False, server_default=None)
        table.alter_column("bytes", existing_type=Big, existing_nullable=False, server_default=None)
    op.create_index(op.f("ix_cache_entry_run_id_node"), "cache_entry", ["run_id", "node"])
    op.create_index(op.f("ix_cache_entry_scope_task_created_at"), "cache_entry", ["scope", "task", "created_at"])
    op.drop_index("ix_step_hit", table_name="step")
    op.create_index("ix_step_cache_key", "step", ["cache_key"], postgresql_where=KEYED, sqlite_where=KEYED)
    op.execute(
        "UPDATE cache_entry SET bytes = coalesce((SELECT sum(artifact.size) FROM artifact "
        "WHERE artifact.run_id = cache_entry.run_id AND artifact.node = cache_entry.node), 0)"
    )


def downgrade() -> None:
    op.drop_index("ix_step_cache_key", table_name="step")
    op.create_index("ix_step_hit", "step", ["cache_key"], postgresql_where=HIT, sqlite_where=HIT)
    op.drop_index(op.f("ix_cache_entry_scope_task_created_at"), table_name="cache_entry")
    op.drop_index(op.f("ix_cache_entry_run_id_node"), table_name="cache_entry")
    with op.batch_alter_table("cache_entry") as table:
        table.drop_constraint(op.f("ck_cache_entry_scope"), type_="check")
        for name in ("pinned_by", "pinned_at", "bytes", "scope"):
            table.drop_column(name)
    op.drop_column("project", "cache_limit_bytes")
