"""Simulations asked for, and the files of their results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "simulation",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("profiles", sa.LargeBinary, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("started", sa.String(27)),
        sa.Column("finished", sa.String(27)),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("runner", sa.String(36)),
        sa.Column("lease", sa.Float),
        sa.Column("problem", sa.Text),
        sa.Column("files", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_simulation"),
    )
    op.create_index("ix_simulation_owner_id", "simulation", ["owner", "id"])
    op.create_index("ix_simulation_state_id", "simulation", ["state", "id"])
    op.create_table(
        "simulation_part",
        sa.Column("simulation", sa.String(36), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("part", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("simulation", "name", "part", name="pk_simulation_part"),
    )
