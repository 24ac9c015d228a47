"""The store on one SQLite file: for one machine, with any number of processes on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.files.secret_box import KEY_FILE_NAME, SecretBox
from orchestrator.store.ids import new_id
from orchestrator.store.signals import SignalHub
from orchestrator.store.sql.store import SqlStore
from orchestrator.store.sqlite.connection import ConnectionPool
from orchestrator.store.sqlite.signing_secrets import encrypt_signing_secrets


class SqliteStore(SqlStore):
    """Implements `orchestrator.store.protocol.Store`, where each method is described.

    Opening creates the file and brings its schema up to date; it may wait for another process that writes.
    """

    def __init__(
        self, path: Path, new_id: Callable[[str], str] = new_id, secret_box: SecretBox | None = None
    ) -> None:
        """`secret_box` encrypts secrets; by default with a key file beside the database."""
        box = secret_box or SecretBox(path.with_name(KEY_FILE_NAME))
        signals = SignalHub()
        self._db: ConnectionPool = ConnectionPool(
            path, prepare=lambda db: encrypt_signing_secrets(db, box), publish=signals.publish
        )
        super().__init__(self._db, signals, new_id, box)
