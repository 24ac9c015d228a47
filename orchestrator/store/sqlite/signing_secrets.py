"""Encryption of the signing secrets that earlier versions stored in clear."""

from __future__ import annotations

import sqlite3

from orchestrator.files.secret_box import SecretBox, is_encrypted
from orchestrator.store.sqlite.connection import transaction


def encrypt_signing_secrets(db: sqlite3.Connection, box: SecretBox) -> None:
    """Encrypt what is stored in clear, and overwrite the clear texts in the files of the database.

    Raises SecretUnreadable if the other secrets are encrypted with another key.
    """
    with transaction(db):
        rows = db.execute("SELECT id, account_id, secret FROM signing_secrets ORDER BY id").fetchall()
        encrypted = [row for row in rows if is_encrypted(row["secret"])]
        clear = [row for row in rows if not is_encrypted(row["secret"])]
        for row in encrypted[-1:]:
            box.decrypt(row["secret"], row["account_id"])
    if not clear:
        return
    db.execute("PRAGMA secure_delete = ON")
    with transaction(db):
        for row in clear:
            # Another process may have encrypted it meanwhile.
            db.execute(
                "UPDATE signing_secrets SET secret = ? WHERE id = ? AND secret = ?",
                (box.encrypt(row["secret"], row["account_id"]), row["id"], row["secret"]),
            )
    db.execute("PRAGMA secure_delete = OFF")
    # The log still has pages with the clear texts.
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
