"""A temporary PostgreSQL cluster for tests: on loopback and a Unix socket, with a database for each test.

A database is a copy of a template that has the schema already.
"""

from __future__ import annotations

import asyncio
import atexit
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from orchestrator.store.postgres.store import prepare_database
from scripts import postgres_cluster
from scripts.postgres_cluster import find_binaries as find_binaries
from tests.support.polling import poll

#: Databases of earlier tests that are kept, in case one of them is opened again.
KEPT_DATABASES = 8
_databases: dict[Path, str] = {}
_numbers = count(1)


def require_binaries() -> Path:
    """Return the directory of PostgreSQL's programs; skip the test without them."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL's programs (Debian: apt install postgresql)")
    return binaries


class PostgresCluster(postgres_cluster.PostgresCluster):
    """A cluster in a temporary directory; the test is skipped without PostgreSQL's programs."""

    def __init__(self, *options: str) -> None:
        require_binaries()
        super().__init__(*options)


@cache
def shared_cluster() -> PostgresCluster:
    """Return the cluster of this test process, whose database `template` has the schema."""
    cluster = PostgresCluster()
    atexit.register(cluster.remove)
    cluster.start()
    prepare_database(cluster.create_database("template"))
    return cluster


def database_url(directory: Path) -> str:
    """Return the URL of the database that belongs to a directory, with the schema; the same each time.

    The database is that of an earlier test, emptied: this takes a tenth of the time of a new one.
    """
    cluster = shared_cluster()
    if directory not in _databases:
        if len(_databases) < KEPT_DATABASES:
            name = f"store_{next(_numbers)}"
            cluster.create_database(name, "template")
        else:
            name = _databases.pop(next(iter(_databases)))
            _empty_database(cluster, name)
        _databases[directory] = name
    return cluster.url(_databases[directory])


async def wait_for_connections(cluster: postgres_cluster.PostgresCluster, condition: str, count: int) -> None:
    """Wait until so many connections meet a condition on `pg_stat_activity`.

    A store connects in threads of its own, before or after its opening returns.
    """
    query = f"SELECT pid FROM pg_stat_activity WHERE {condition}"
    await poll(lambda: asyncio.to_thread(cluster.query, query), lambda rows: len(rows) == count)


def _empty_database(cluster: PostgresCluster, name: str) -> None:
    """End the connections of a database and delete all rows, as if it had just been created.

    DELETE, since the tables are small: TRUNCATE makes new files for all of them and their indexes.
    """
    others = f"datname = '{name}' AND pid <> pg_backend_pid()"
    cluster.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}",
        "SET session_replication_role = replica;" + ";".join(_statements_that_empty(cluster)),
        database=name,
    )


@cache
def _statements_that_empty(cluster: PostgresCluster) -> tuple[str, ...]:
    """Return the statements after which a database has the rows of a new one."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migrations'"
    sequences = "SELECT sequencename FROM pg_sequences"
    return (
        *(f"DELETE FROM {table}" for (table,) in cluster.query(tables, "template")),
        *(f"ALTER SEQUENCE {sequence} RESTART" for (sequence,) in cluster.query(sequences, "template")),
        "INSERT INTO installation (id) VALUES (md5(random()::text))",
        "INSERT INTO scheduler_leader (term) VALUES (0)",
        "INSERT INTO published_models DEFAULT VALUES",
    )
