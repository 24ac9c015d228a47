"""Queries and changes of the LoRAs that accounts have trained."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.errors import InvalidRequest
from orchestrator.jobs.loras import Lora
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.sql.rows import format_time, insert_row, parse_time
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, Page


def add_lora(db: Database, lora: Lora) -> None:
    row = {
        "job_id": lora.job_id,
        "account_id": lora.account_id,
        "name": lora.name,
        "base": lora.base,
        "trigger_word": lora.trigger_word,
        "model": lora.model,
        "key": lora.key,
        "size": lora.size,
        "sha256": lora.sha256,
        "created_at": format_time(lora.created_at),
    }
    insert_row(db, "loras", row)


def delete_loras(db: Database, job_ids: Sequence[str]) -> None:
    if not job_ids:
        return
    db.execute(f"DELETE FROM loras WHERE {db.is_in('job_id')}", (db.list_value(job_ids),))


def list_old_loras(db: Database, before: datetime, limit: int) -> list[Lora]:
    query = "SELECT * FROM loras WHERE created_at < ? ORDER BY created_at, job_id LIMIT ?"
    return [_row_to_lora(row) for row in db.execute(query, (format_time(before), limit))]


def list_loras(db: Database, account_id: str, limit: int, cursor: str | None) -> Page[Lora]:
    condition, values = "", {"account_id": account_id, "limit": limit + 1}
    if cursor is not None:
        query = "SELECT created_at FROM loras WHERE account_id = ? AND job_id = ?"
        row = db.execute(query, (account_id, cursor)).fetchone()
        if row is None:
            raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
        condition = "AND (created_at, job_id) < (:created_at, :job_id)"
        values |= {"created_at": row["created_at"], "job_id": cursor}
    rows = db.execute(
        f"SELECT * FROM loras WHERE account_id = :account_id {condition}"
        " ORDER BY created_at DESC, job_id DESC LIMIT :limit",
        values,
    ).fetchall()
    found = [_row_to_lora(row) for row in rows[:limit]]
    return Page(items=found, cursor=found[-1].job_id if len(rows) > limit else None)


def find_lora(db: Database, account_id: str, reference: str) -> Lora | None:
    row = db.execute(
        """SELECT * FROM loras
        WHERE account_id = :account_id AND (job_id = :text OR key = :text OR name = :text)
        ORDER BY name = :text, created_at DESC, job_id DESC LIMIT 1""",
        {"account_id": account_id, "text": reference},
    ).fetchone()
    return None if row is None else _row_to_lora(row)


def _row_to_lora(row: Row) -> Lora:
    return Lora(
        job_id=row["job_id"],
        account_id=row["account_id"],
        name=row["name"],
        base=row["base"],
        trigger_word=row["trigger_word"],
        model=row["model"],
        key=row["key"],
        size=row["size"],
        sha256=row["sha256"],
        created_at=parse_time(row["created_at"]),
    )
