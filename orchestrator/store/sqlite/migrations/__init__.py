"""Numbered migrations: plain SQL files, applied in order, each once, under the write lock.

`sqlite-utils` applies them. It is imported only where one is missing: it imports NumPy where that is
installed, which would cost each start of the service 0.1 s and 15 MB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.store.schema import check_schema_known, log_upgrade, read_scripts

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

#: Name of our set of migrations, and the table in which `sqlite-utils` records which ones it has applied.
_SET, _TABLE = "pixel_factory", "_sqlite_migrations"


def split_statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, triggers in one piece (`executescript` would commit first)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_SCRIPTS = read_scripts(__name__)
#: Names of all migrations, in the order in which they are applied.
MIGRATION_NAMES = tuple(_SCRIPTS)


@cache
def load_migrations() -> Migrations:
    """Return all migrations, for `sqlite-utils`."""
    from sqlite_utils import Migrations

    migrations = Migrations(_SET)
    for name, script in _SCRIPTS.items():

        def apply(db: Database, /, script: str = script) -> None:
            for statement in split_statements(script):
                db.execute(statement)

        migrations(name=name)(apply)
    return migrations


def applied_migrations(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the migrations that were applied to the database, oldest first."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone():
        return []
    rows = connection.execute(f"SELECT name FROM {_TABLE} WHERE migration_set = ?", (_SET,))
    return sorted(str(name) for (name,) in rows)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the missing migrations in one transaction; other processes wait for it.

    Raises UnknownSchema, before anything is changed, for a database of a newer version.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        applied = applied_migrations(connection)
        check_schema_known(applied, MIGRATION_NAMES)
        if set(MIGRATION_NAMES) - set(applied):
            from sqlite_utils import Database

            load_migrations().apply(Database(connection))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    log_upgrade(applied, MIGRATION_NAMES)
