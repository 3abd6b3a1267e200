"""First tables: audit trail, API keys, profiles of clinics."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEQUENCE: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_SQLITE: Final = (
    """CREATE TRIGGER audit_record_no_update BEFORE UPDATE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END""",
    """CREATE TRIGGER audit_record_no_delete BEFORE DELETE ON audit_record
    WHEN OLD.seq > (SELECT anchor_seq FROM audit_head)
    BEGIN SELECT RAISE(ABORT, 'only a purge removes audit records'); END""",
    """CREATE TRIGGER audit_output_no_update BEFORE UPDATE ON audit_output
    BEGIN SELECT RAISE(ABORT, 'audit outputs are never changed'); END""",
)
_POSTGRESQL: Final = (
    """CREATE FUNCTION ketacast_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit records are never changed, only a purge removes them'; END $$""",
    """CREATE FUNCTION ketacast_only_purged() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.seq > (SELECT anchor_seq FROM audit_head) THEN
            RAISE EXCEPTION 'only a purge removes audit records';
        END IF;
        RETURN OLD;
    END $$""",
    """CREATE TRIGGER audit_record_no_update BEFORE UPDATE OR TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION ketacast_refuse()""",
    """CREATE TRIGGER audit_record_no_delete BEFORE DELETE ON audit_record
    FOR EACH ROW EXECUTE FUNCTION ketacast_only_purged()""",
    """CREATE TRIGGER audit_output_no_update BEFORE UPDATE OR TRUNCATE ON audit_output
    FOR EACH STATEMENT EXECUTE FUNCTION ketacast_refuse()""",
)


def upgrade() -> None:
    """Make the tables, the triggers and the empty chain's head."""
    _audit_tables()
    _other_tables()
    statements = _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements:
        op.execute(statement)


def _audit_tables() -> None:
    op.create_table(
        "audit_record",
        sa.Column("seq", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("time", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("output_sha256", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_record"),
    )
    op.create_index("ix_audit_record_id", "audit_record", ["id"], unique=True)
    op.create_table(
        "audit_output",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_audit_output"),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("one", sa.Integer, nullable=False),
        sa.Column("seq", _SEQUENCE, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("anchor_seq", _SEQUENCE, nullable=False),
        sa.Column("anchor_hash", sa.String(64), nullable=False),
        sa.Column("purges", sa.Integer, nullable=False),
        sa.Column("probes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_audit_head"),
        sa.CheckConstraint("one = 1", name="ck_audit_head_single_row"),
    )
    first = "0" * 64
    op.bulk_insert(
        head,
        [
            {
                "one": 1,
                "seq": 0,
                "hash": first,
                "anchor_seq": 0,
                "anchor_hash": first,
                "purges": 0,
                "probes": 0,
            }
        ],
    )


def _other_tables() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("expires", sa.String(27)),
        sa.Column("revoked", sa.String(27)),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
    )
    op.create_table(
        "clinic",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("updated", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clinic"),
    )
