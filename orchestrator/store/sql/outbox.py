"""The outbox: webhook messages with their delivery attempts, and signing secrets."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from orchestrator.billing.changes import NewMessage
from orchestrator.files.secret_box import SecretBox
from orchestrator.net.http_urls import url_receiver
from orchestrator.store.lookup import found
from orchestrator.store.outbox import MAX_DUE_RECEIVERS
from orchestrator.store.signals import StoreEvent, StoreEventKind
from orchestrator.store.sql.accounts import get_account, lock_account
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.sql.rows import dump_json, format_time, insert_row, parse_time, row_to_message
from orchestrator.store.values import Claim, DeliveryAttempt, DueReceiver, MessageReceiver, WebhookMessage

#: A message with the number of all attempts; `attempts` counts those since the last replay.
_COLUMNS = "*, (SELECT count(*) FROM deliveries WHERE message_id = outbox.id) AS total_attempts"


def add_message(db: Database, message: NewMessage) -> None:
    """Insert a message; it is due at once if it has a URL."""
    moment = format_time(message.created_at)
    insert_row(
        db,
        "outbox",
        {
            "account_id": message.account_id,
            "topic": message.topic,
            "payload": dump_json(dict(message.payload)),
            "url": message.url,
            "receiver": message.url and url_receiver(message.url),
            "created_at": moment,
            "due_at": moment if message.url else None,
            "job_id": message.job_id,
        },
    )


def find_job_message(db: Database, job_id: str) -> WebhookMessage | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM outbox WHERE job_id = ?", (job_id,)).fetchone()
    return None if row is None else _with_delivery_attempts(db, row_to_message(row))


def get_message(db: Database, account_id: str, message_id: int) -> WebhookMessage:
    """Return a message with its delivery attempts. Raises NotFound."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE id = ? AND account_id = ?", (message_id, account_id)
    ).fetchone()
    return _with_delivery_attempts(db, row_to_message(_found_message(row, message_id)))


def replay_message(db: Database, message_id: int, now: datetime) -> WebhookMessage:
    """Make a message due again with its delivery state reset. Raises NotFound."""
    changes = "delivered_at = NULL, error = NULL, attempts = 0, claimed_by = NULL, claimed_until = NULL"
    db.execute(
        f"UPDATE outbox SET due_at = ?, {changes} WHERE id = ? AND url IS NOT NULL",
        (format_time(now), message_id),
    )
    row = db.execute(f"SELECT {_COLUMNS} FROM outbox WHERE id = ?", (message_id,)).fetchone()
    message = row_to_message(_found_message(row, message_id))
    if message.url:
        db.signal([StoreEvent(StoreEventKind.MESSAGE_DUE, message.account_id)])
    return _with_delivery_attempts(db, message)


def _found_message(row: Row | None, message_id: int) -> Row:
    return found(row, "webhook message", message_id, code="message_not_found")


def list_due_receivers(db: Database, now: datetime, sender: str) -> list[DueReceiver]:
    rows = db.execute(
        f"""SELECT * FROM (
            SELECT account_id, receiver, min(due_at) AS due_at, count(*) AS count,
                row_number() OVER (PARTITION BY account_id ORDER BY min(due_at), receiver) AS place
            FROM outbox {db.use_index("outbox_due_receiver")}
            WHERE due_at IS NOT NULL AND due_at <= ?
                AND (claimed_until IS NULL OR claimed_until <= ? OR claimed_by = ?)
            GROUP BY account_id, receiver
        ) AS receivers WHERE place <= ?""",
        (format_time(now), format_time(now), sender, MAX_DUE_RECEIVERS),
    )
    return [
        DueReceiver(
            receiver=MessageReceiver(row["account_id"], row["receiver"]),
            due_at=parse_time(row["due_at"]),
            count=row["count"],
        )
        for row in rows
    ]


def claim_messages(
    db: Database, claim: Claim, now: datetime, limit: int, receiver: MessageReceiver | None
) -> list[WebhookMessage]:
    condition = "" if receiver is None else "AND account_id = ? AND receiver = ?"
    chosen = () if receiver is None else (receiver.account_id, receiver.host)
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM outbox
        WHERE due_at IS NOT NULL AND due_at <= ?
            AND (claimed_until IS NULL OR claimed_until <= ? OR claimed_by = ?) {condition}
        ORDER BY due_at, id LIMIT ? {db.skip_locked()}""",
        (format_time(now), format_time(now), claim.sender, *chosen, limit),
    ).fetchall()
    if rows:
        db.execute(
            f"UPDATE outbox SET claimed_by = ?, claimed_until = ? WHERE {db.is_in('id')}",
            (claim.sender, format_time(claim.until), db.list_value([row["id"] for row in rows])),
        )
    return [row_to_message(row) for row in rows]


def release_claims(db: Database, sender: str | None) -> None:
    condition, values = ("claimed_by = ?", (sender,)) if sender else ("claimed_by IS NOT NULL", ())
    db.execute(f"UPDATE outbox SET claimed_by = NULL, claimed_until = NULL WHERE {condition}", values)


def list_messages(db: Database, account_id: str, limit: int) -> list[WebhookMessage]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE account_id = ? ORDER BY id DESC LIMIT ?", (account_id, limit)
    )
    return [row_to_message(row) for row in rows]


def record_delivery_attempt(db: Database, attempt: DeliveryAttempt, retry_at: datetime | None) -> None:
    at = format_time(attempt.at)
    insert_row(
        db,
        "deliveries",
        {
            "message_id": attempt.message_id,
            "at": at,
            "seconds": attempt.seconds,
            "http_status": attempt.http_status,
            "error": attempt.error,
        },
    )
    db.execute(
        "UPDATE outbox SET delivered_at = ?, due_at = ?, error = ?, attempts = attempts + 1,"
        " claimed_by = NULL, claimed_until = NULL WHERE id = ? AND delivered_at IS NULL",
        (
            at if attempt.error is None else None,
            format_time(retry_at) if attempt.error is not None and retry_at else None,
            attempt.error,
            attempt.message_id,
        ),
    )


def _with_delivery_attempts(db: Database, message: WebhookMessage) -> WebhookMessage:
    rows = db.execute("SELECT * FROM deliveries WHERE message_id = ? ORDER BY id", (message.id,))
    attempts = [
        DeliveryAttempt(
            message_id=row["message_id"],
            at=parse_time(row["at"]),
            seconds=row["seconds"],
            http_status=row["http_status"],
            error=row["error"],
        )
        for row in rows
    ]
    return replace(message, delivery_attempts=tuple(attempts))


def list_signing_secrets(db: Database, account_id: str, now: datetime) -> list[str]:
    rows = db.execute(
        "SELECT secret FROM signing_secrets WHERE account_id = ? AND coalesce(ends_at > ?, TRUE)"
        " ORDER BY id DESC",
        (account_id, format_time(now)),
    )
    return [str(row["secret"]) for row in rows]


def get_or_create_signing_secrets(db: Database, account_id: str, secret: str, now: datetime) -> list[str]:
    """Return the active secrets, or add this one if there are none. Raises NotFound."""
    lock_account(db, account_id)
    known = list_signing_secrets(db, account_id, now)
    if not known:
        add_signing_secret(db, account_id, secret, now, now)
    return known or [secret]


def add_signing_secret(
    db: Database, account_id: str, secret: str, now: datetime, previous_expire_at: datetime
) -> None:
    """Add a secret and expire the earlier ones. Raises NotFound."""
    lock_account(db, account_id)
    get_account(db, account_id)
    db.execute(
        "DELETE FROM signing_secrets WHERE account_id = ? AND ends_at <= ?", (account_id, format_time(now))
    )
    db.execute(
        "UPDATE signing_secrets SET ends_at = ? WHERE account_id = ? AND ends_at IS NULL",
        (format_time(previous_expire_at), account_id),
    )
    insert_row(db, "signing_secrets", {"account_id": account_id, "secret": secret})


def check_secrets_readable(db: Database, box: SecretBox) -> None:
    """Raise SecretUnreadable if the newest secret was encrypted with another key."""
    row = db.execute("SELECT secret, account_id FROM signing_secrets ORDER BY id DESC LIMIT 1").fetchone()
    if row is not None:
        box.decrypt(row["secret"], row["account_id"])
