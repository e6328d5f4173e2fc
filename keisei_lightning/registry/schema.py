"""The version of the tables, and the way forward from older ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, Engine, insert, inspect, select, text, update

from keisei_lightning.errors import SessionError
from keisei_lightning.registry.tables import meta, metadata

__all__ = ["SCHEMA_VERSION", "Migration", "migrate", "schema_version"]

Migration = Callable[[Connection], None]

SCHEMA_VERSION = 1
_KEY = "schema"
_MIGRATIONS: Mapping[int, Migration] = {}
"""What turns the tables of version n into those of n + 1."""


def migrate(
    engine: Engine,
    *,
    version: int = SCHEMA_VERSION,
    migrations: Mapping[int, Migration] = _MIGRATIONS,
) -> None:
    """Make the tables, or bring older ones to ``version``, in one transaction.

    Raises:
        SessionError: The tables were made by a newer keisei-lightning.
    """
    with engine.connect() as connection:
        if schema_version(connection) == version:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7263914509)"))
        found = schema_version(connection)
        if found is None:
            metadata.create_all(connection)
            connection.execute(insert(meta).values(key=_KEY, value=str(version)))
            return
        if found > version:
            raise SessionError(
                f"the registry has tables of version {found}, this keisei-lightning knows "
                f"{version}; upgrade it: pip install -U keisei-lightning"
            )
        for step in range(found, version):
            migrations[step](connection)
        connection.execute(update(meta).where(meta.c.key == _KEY).values(value=str(version)))


def schema_version(connection: Connection) -> int | None:
    """Return the version of the tables, ``None`` where there are none."""
    if not inspect(connection).has_table(meta.name):
        return None
    value = connection.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    return int(value) if value is not None else None
