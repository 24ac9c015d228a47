"""Numbered migrations: plain SQL files, applied in order, each once, under the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sqlite_utils import Database, Migrations

from orchestrator.store.schema import check_schema_known, log_upgrade, read_scripts


def split_statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, triggers in one piece (`executescript` would commit first)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _load_migrations() -> Migrations:
    migrations = Migrations("pixel_factory")
    for name, script in _SCRIPTS.items():

        def apply(db: Database, /, script: str = script) -> None:
            for statement in split_statements(script):
                db.execute(statement)

        migrations(name=name)(apply)
    return migrations


_SCRIPTS = read_scripts(__name__)
#: Names of all migrations, in the order in which they are applied.
MIGRATION_NAMES = tuple(_SCRIPTS)
MIGRATIONS = _load_migrations()


def applied_migrations(db: Database) -> list[str]:
    """Return the names of the migrations that were applied to the database, oldest first."""
    return sorted(migration.name for migration in MIGRATIONS.applied(db))


def migrate(db: Database) -> None:
    """Apply the missing migrations in one transaction; other processes wait for it.

    Raises UnknownSchema, before anything is changed, for a database of a newer version.
    """
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        applied = applied_migrations(db)
        check_schema_known(applied, MIGRATION_NAMES)
        MIGRATIONS.apply(db)
    except BaseException:
        db.conn.execute("ROLLBACK")
        raise
    db.conn.execute("COMMIT")
    log_upgrade(applied, MIGRATION_NAMES)
