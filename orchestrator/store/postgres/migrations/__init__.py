"""Numbered migrations: plain SQL files, applied in order, each once, by one process at a time."""

from __future__ import annotations

from psycopg import Connection

from orchestrator.store.schema import check_schema_known, log_upgrade, read_scripts

_SCRIPTS = read_scripts(__name__)
#: Names of all migrations, in the order in which they are applied.
MIGRATION_NAMES = tuple(_SCRIPTS)
#: The lock of the processes that migrate databases; its second half is the schema's object id.
MIGRATION_LOCK = 0x5046_0001


def applied_migrations(connection: Connection[dict[str, object]]) -> list[str]:
    """Return the names of the migrations that were applied to the schema of a connection, oldest first."""
    found = connection.execute("SELECT to_regclass('migrations') IS NOT NULL AS found").fetchone()
    if found is None or not found["found"]:
        return []
    return [str(row["name"]) for row in connection.execute("SELECT name FROM migrations ORDER BY name")]


def migrate(connection: Connection[dict[str, object]], last: str | None = None) -> None:
    """Apply the missing migrations in one transaction, up to `last` if given; other processes wait for it.

    The connection commits by itself outside of transactions. Raises UnknownSchema for a database of a newer
    version, before anything is changed.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", (MIGRATION_LOCK,))
        applied = applied_migrations(connection)
        check_schema_known(applied, MIGRATION_NAMES)
        if not applied:
            connection.execute(
                'CREATE TABLE IF NOT EXISTS migrations (name TEXT COLLATE "C" PRIMARY KEY,'
                " applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
            )
        for name, script in _SCRIPTS.items():
            if name not in applied and (last is None or name <= last):
                connection.execute(script.encode())
                connection.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))
    log_upgrade(applied, [name for name in MIGRATION_NAMES if last is None or name <= last])
