"""Alembic's environment: `running.upgrade` gives the connection, in a transaction."""

from __future__ import annotations

from alembic import context

from ketacast_service.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
