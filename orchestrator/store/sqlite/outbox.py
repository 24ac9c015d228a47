"""The outbox: words for the outside, written with what gives rise to them, kept until delivered."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.errors import NotFound
from orchestrator.jobs import Job
from orchestrator.store.sqlite.accounts import get_account
from orchestrator.store.sqlite.rows import from_json, from_time, insert, to_message, to_time
from orchestrator.store.values import DeliveryAttempt, Message


def post(
    db: sqlite3.Connection,
    account_id: str,
    message: tuple[str, Mapping[str, Any]],
    url: str | None,
    now: datetime,
    *,
    job_id: str | None = None,
) -> None:
    """Put a message (topic and payload) into the outbox; it is due at once if it has somewhere to go."""
    moment = from_time(now)
    topic, payload = message
    insert(
        db,
        "outbox",
        {
            "account_id": account_id,
            "topic": topic,
            "payload": from_json(dict(payload)),
            "url": url,
            "created_at": moment,
            "due_at": moment if url else None,
            "job_id": job_id,
        },
    )


def post_job(db: sqlite3.Connection, job: Job, now: datetime) -> None:
    """The job is finished: tell whoever it names."""
    if job.receiver is not None:
        told = (f"job.{job.status}", {"jobId": job.id})
        post(db, job.account_id, told, job.receiver, now, job_id=job.id)


def job_message(db: sqlite3.Connection, job_id: str) -> Message | None:
    row = db.execute("SELECT * FROM outbox WHERE job_id = ?", (job_id,)).fetchone()
    return None if row is None else _with_tries(db, to_message(row))


def get_message(db: sqlite3.Connection, account_id: str, message_id: int) -> Message:
    """Raises NotFound."""
    row = db.execute(
        "SELECT * FROM outbox WHERE id = ? AND account_id = ?", (message_id, account_id)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such message", code="message_not_found")
    return _with_tries(db, to_message(row))


def replay_message(db: sqlite3.Connection, message_id: int, now: datetime) -> Message:
    """The same message once more, as if it had never been tried. Raises NotFound."""
    row = db.execute(
        "UPDATE outbox SET due_at = ?, delivered_at = NULL, error = NULL, attempts = 0 WHERE id = ?"
        " RETURNING *",
        (from_time(now), message_id),
    ).fetchone()
    if row is None:
        raise NotFound("There is no such message", code="message_not_found")
    return to_message(row)


def due_messages(db: sqlite3.Connection, now: datetime, limit: int) -> list[Message]:
    rows = db.execute(
        "SELECT * FROM outbox WHERE due_at <= ? ORDER BY due_at, id LIMIT ?", (from_time(now), limit)
    )
    return [to_message(row) for row in rows]


def messages(db: sqlite3.Connection, account_id: str, limit: int) -> list[Message]:
    rows = db.execute(
        "SELECT * FROM outbox WHERE account_id = ? ORDER BY id DESC LIMIT ?", (account_id, limit)
    )
    return [to_message(row) for row in rows]


def note_delivery(db: sqlite3.Connection, attempt: DeliveryAttempt, again: datetime | None) -> None:
    at = from_time(attempt.at)
    insert(
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
        "UPDATE outbox SET delivered_at = ?, due_at = ?, error = ?, attempts = attempts + 1"
        " WHERE id = ? AND delivered_at IS NULL",
        (
            at if attempt.error is None else None,
            from_time(again) if attempt.error is not None and again else None,
            attempt.error,
            attempt.message_id,
        ),
    )


def _with_tries(db: sqlite3.Connection, message: Message) -> Message:
    rows = db.execute("SELECT * FROM deliveries WHERE message_id = ? ORDER BY id", (message.id,))
    tries = [
        DeliveryAttempt(
            message_id=row["message_id"],
            at=to_time(row["at"]),
            seconds=row["seconds"],
            http_status=row["http_status"],
            error=row["error"],
        )
        for row in rows
    ]
    return replace(message, tries=tuple(tries))


def signing_secrets(db: sqlite3.Connection, account_id: str, now: datetime) -> list[str]:
    rows = db.execute(
        "SELECT secret FROM signing_secrets WHERE account_id = ? AND coalesce(ends_at > ?, TRUE)"
        " ORDER BY id DESC",
        (account_id, from_time(now)),
    )
    return [str(row["secret"]) for row in rows]


def first_signing_secret(db: sqlite3.Connection, account_id: str, secret: str, now: datetime) -> list[str]:
    """Those there are, or this one. Raises NotFound."""
    known = signing_secrets(db, account_id, now)
    if not known:
        add_signing_secret(db, account_id, secret, now, now)
    return known or [secret]


def add_signing_secret(
    db: sqlite3.Connection, account_id: str, secret: str, now: datetime, others_until: datetime
) -> None:
    """Raises NotFound."""
    get_account(db, account_id)
    db.execute(
        "DELETE FROM signing_secrets WHERE account_id = ? AND ends_at <= ?", (account_id, from_time(now))
    )
    db.execute(
        "UPDATE signing_secrets SET ends_at = ? WHERE account_id = ? AND ends_at IS NULL",
        (from_time(others_until), account_id),
    )
    insert(db, "signing_secrets", {"account_id": account_id, "secret": secret})
