"""Numbered migrations: plain SQL files, applied in order, each once, under the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from importlib import resources

from sqlite_utils import Database, Migrations


class UnknownSchema(Exception):
    """The database was written by a newer version, whose migrations this version does not know."""


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


def _read_scripts() -> dict[str, str]:
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql"))
    scripts = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}
    return dict(sorted(scripts.items()))


_SCRIPTS = _read_scripts()
#: Names of all migrations, in the order in which they are applied.
MIGRATION_NAMES = tuple(_SCRIPTS)
MIGRATIONS = _load_migrations()


def applied_migrations(db: Database) -> list[str]:
    """Return the names of the migrations that were applied to the database, oldest first."""
    return sorted(migration.name for migration in MIGRATIONS.applied(db))


def check_schema_known(applied: Iterable[str]) -> None:
    """Raise UnknownSchema if one of these applied migrations is unknown to this version."""
    if newer := sorted(set(applied) - set(MIGRATION_NAMES)):
        raise UnknownSchema(
            f"The database has schema {newer[-1]}, which this version does not know (it ends with"
            f" {MIGRATION_NAMES[-1]});"
            " install the version that wrote it, or restore a backup that was made before the upgrade"
        )


def migrate(db: Database) -> None:
    """Apply the missing migrations in one transaction; other processes wait for it.

    Raises UnknownSchema, before anything is changed, for a database of a newer version.
    """
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        check_schema_known(applied_migrations(db))
        MIGRATIONS.apply(db)
    except BaseException:
        db.conn.execute("ROLLBACK")
        raise
    db.conn.execute("COMMIT")
