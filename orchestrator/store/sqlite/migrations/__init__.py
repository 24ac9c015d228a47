"""Numbered migrations: plain SQL files, applied in order, each once, under the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources

from sqlite_utils import Database, Migrations


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
    scripts = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql"))
    for file in sorted(scripts, key=lambda file: file.name):
        script = file.read_text(encoding="utf-8")

        def apply(db: Database, /, script: str = script) -> None:
            for statement in split_statements(script):
                db.execute(statement)

        migrations(name=file.name.removesuffix(".sql"))(apply)
    return migrations


MIGRATIONS = _load_migrations()


def migrate(db: Database) -> None:
    """Apply the missing migrations in one transaction; other processes wait for it."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        MIGRATIONS.apply(db)
    except BaseException:
        db.conn.execute("ROLLBACK")
        raise
    db.conn.execute("COMMIT")
