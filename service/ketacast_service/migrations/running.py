"""Run migrations on a connection that is already in a transaction."""

from __future__ import annotations

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from ketacast_service.errors import ServiceError

LOCATION: Final = "ketacast_service:migrations"


def upgrade(connection: Connection, place: str) -> None:
    """Bring the schema to the newest revision; all steps or none.

    Raises
    ------
    ServiceError
        If the schema's revision is unknown, or a step fails.
    """
    config = Config()
    config.set_main_option("script_location", LOCATION)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    newest = scripts.get_current_head()
    found = MigrationContext.configure(connection).get_current_revision()
    if found == newest:  # another process was faster
        return
    if found is not None and found not in known:
        raise ServiceError(
            f"{place} has schema {found}, this ketacast knows schemas up to {newest}; "
            "update ketacast, or name another database in KETACAST_DATABASE_URL"
        )
    try:
        command.upgrade(config, "head")
    except DatabaseError as error:
        raise ServiceError(
            f"{place} cannot be brought from schema {found or 'none'} to {newest}: {error.orig}; "
            "give an empty database or one of ketacast, and a user that may create tables"
        ) from error
