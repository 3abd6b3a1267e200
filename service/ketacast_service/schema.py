"""Tables of the service's database; their migrations are under ``migrations/``.

No column holds a patient identifier: what was asked is the number of failed trials,
of infusions and who rates.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


def replay_table(metadata: MetaData) -> Table:
    """Return the table of ids of tokens that were used, as a part of a schema."""
    return Table(
        "used_token",
        metadata,
        Column("digest", String(64), primary_key=True),
        Column("expires", BigInteger, nullable=False),
        Index(None, "expires"),
    )


used_token = replay_table(METADATA)
"""Digests of issuer and id of tokens of CDS Hooks clients, until the tokens expire."""

audit_record = Table(
    "audit_record",
    METADATA,
    Column("seq", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False),
    Column("time", String(27), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("client", String(128), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("output_sha256", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "id", unique=True),
)
"""One row per answer. ``hash`` covers the row and the hash of the row before it."""

audit_output = Table(
    "audit_output",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""What was answered, each distinct answer once."""

audit_head = Table(
    "audit_head",
    METADATA,
    Column("one", Integer, primary_key=True),
    Column("seq", _SEQUENCE, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("anchor_seq", _SEQUENCE, nullable=False),
    Column("anchor_hash", String(64), nullable=False),
    Column("purges", Integer, nullable=False),
    Column("probes", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="single_row"),
)
"""End of the chain, and the record before the oldest that is kept.

``purges`` counts the transactions that removed records or outputs, ``probes`` the writes
that only asked whether writing is possible.
"""

api_key = Table(
    "api_key",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("mac", String(64), nullable=False),
    Column("created", String(27), nullable=False),
    Column("expires", String(27)),
    Column("revoked", String(27)),
)
"""API keys; only a keyed digest (HMAC-SHA256) of the secret part is kept."""

clinic = Table(
    "clinic",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("profile", Text, nullable=False),
    Column("created", String(27), nullable=False),
    Column("updated", String(27), nullable=False),
)
"""Profiles of clinics: counts by covariates and the draws behind their predictions."""

simulation = Table(
    "simulation",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("state", String(12), nullable=False),
    Column("document", Text, nullable=False),
    Column("profiles", LargeBinary, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("created", String(27), nullable=False),
    Column("started", String(27)),
    Column("finished", String(27)),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("runner", String(36)),
    Column("lease", Float),
    Column("problem", Text),
    Column("files", Text, nullable=False),
    Index(None, "owner", "id"),
    Index(None, "state", "id"),
)
"""Simulations asked for: waiting, running and ended.

``runner`` holds one until ``lease`` (seconds since 1970); after that another may go on with
it. ``files`` lists what its result consists of.
"""

simulation_part = Table(
    "simulation_part",
    METADATA,
    Column("simulation", String(36), primary_key=True),
    Column("name", String(60), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
"""Files of results in parts, so that none keeps other writers waiting."""
