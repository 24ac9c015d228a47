"""Conversion between rows and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any

from orchestrator.jobs import (
    Attempt,
    Job,
    JobError,
    JobStatus,
    Output,
    PendingResponse,
    Shard,
    ShardStatus,
    Usage,
)
from orchestrator.store.sql.database import Database, Row
from orchestrator.store.values import Account, ApiKey, ApiKeyLimits, ApiKeyScope, UsageRow, WebhookMessage
from pricing.alerts import Alert, AlertMetric
from pricing.costs import MeteredUsage
from pricing.ledger import EntryKind, LedgerEntry


def format_time(moment: datetime) -> str:
    """Format as UTC in ISO 8601 with microseconds: one length, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse_time(value: str | datetime) -> datetime:
    """Convert a stored time: SQLite has text, PostgreSQL a type of its own."""
    return value.astimezone(UTC) if isinstance(value, datetime) else datetime.fromisoformat(value)


def parse_optional_time(value: str | datetime | None) -> datetime | None:
    return None if value is None else parse_time(value)


def parse_day(value: str | date) -> date:
    """Convert a stored day, as `parse_time` does."""
    return value if isinstance(value, date) else date.fromisoformat(value)


def dump_json(value: Any) -> str:
    # ASCII escapes keep lone surrogates, which SQLite's UTF-8 could not.
    return json.dumps(value, separators=(",", ":"))


def to_columns(value: Output | Usage | LedgerEntry | Alert) -> dict[str, Any]:
    """Return the fields of a value by name, as they are: `dataclasses.asdict` copies each in depth."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def update_row(db: Database, table: str, id: str, row: Mapping[str, Any]) -> None:
    """Change some columns of one row. Names come from this package, never from a caller."""
    changes = ", ".join(f"{column} = ?" for column in row)
    db.execute(f"UPDATE {table} SET {changes} WHERE id = ?", (*row.values(), id))


def insert_row(db: Database, table: str, row: Mapping[str, Any]) -> None:
    """Insert one row. Table and column names come from this package, never from a caller."""
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))


def row_to_account(row: Row) -> Account:
    return Account(
        id=row["id"],
        name=row["name"],
        plan=row["plan"],
        created_at=parse_time(row["created_at"]),
        plan_since=parse_time(row["plan_since"]),
    )


def limits_to_row(limits: ApiKeyLimits) -> dict[str, Any]:
    return {
        "scopes": dump_json(sorted(limits.scopes)),
        "models": None if limits.models is None else dump_json(sorted(limits.models)),
        "expires_at": limits.expires_at and format_time(limits.expires_at),
        "day_cap": limits.day_cap,
        "month_cap": limits.month_cap,
    }


def row_to_key(row: Row) -> ApiKey:
    """Convert a key joined with its account (`keys.SELECT_KEYS`)."""
    return ApiKey(
        id=row["id"],
        account=Account(
            id=row["account_id"],
            name=row["account_name"],
            plan=row["account_plan"],
            created_at=parse_time(row["account_created_at"]),
            plan_since=parse_time(row["account_plan_since"]),
        ),
        digest=row["digest"],
        prefix=row["prefix"],
        name=row["name"],
        created_at=parse_time(row["created_at"]),
        revoked_at=parse_optional_time(row["revoked_at"]),
        limits=ApiKeyLimits(
            scopes=frozenset(ApiKeyScope(scope) for scope in json.loads(row["scopes"])),
            models=None if row["models"] is None else frozenset(json.loads(row["models"])),
            expires_at=parse_optional_time(row["expires_at"]),
            day_cap=row["day_cap"],
            month_cap=row["month_cap"],
        ),
        first_key_id=row["first_key_id"],
    )


def job_to_row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "account_id": job.account_id,
        "key_id": job.key_id,
        "model": job.model,
        "params": dump_json(dict(job.params)),
        "price": job.price,
        "created_at": format_time(job.created_at),
        "idempotency_key": job.idempotency_key,
        "request_digest": job.request_digest,
        "webhook_url": job.webhook_url,
        "webhook_ends": None if job.webhook_statuses is None else dump_json(sorted(job.webhook_statuses)),
        "requested_model": job.requested_model,
        "warnings": dump_json(list(job.warnings)),
        "origin": job.origin,
        "output_type": job.output_type,
        "output_quality": job.output_quality,
        **job_status_to_row(job),
    }


def job_status_to_row(job: Job) -> dict[str, Any]:
    """Return the columns of a job that change."""
    return {
        "status": job.status.value,
        # Less than the hold if the job is charged by what it used.
        "price": job.price,
        "started_at": job.started_at and format_time(job.started_at),
        "finished_at": job.finished_at and format_time(job.finished_at),
        "error_code": job.error and job.error.code,
        "error_message": job.error and job.error.message,
        "pending_response": job.pending_response and job.pending_response.value,
    }


def row_to_job(row: Row) -> Job:
    code, ends, pending = row["error_code"], row["webhook_ends"], row["pending_response"]
    return Job(
        id=row["id"],
        account_id=row["account_id"],
        key_id=row["key_id"],
        model=row["model"],
        params=json.loads(row["params"]),
        price=row["price"],
        created_at=parse_time(row["created_at"]),
        status=JobStatus(row["status"]),
        started_at=parse_optional_time(row["started_at"]),
        finished_at=parse_optional_time(row["finished_at"]),
        error=None if code is None else JobError(code=code, message=row["error_message"]),
        idempotency_key=row["idempotency_key"],
        request_digest=row["request_digest"],
        webhook_url=row["webhook_url"],
        webhook_statuses=None if ends is None else frozenset(JobStatus(end) for end in json.loads(ends)),
        requested_model=row["requested_model"],
        warnings=tuple(json.loads(row["warnings"])),
        origin=row["origin"],
        output_type=row["output_type"],
        output_quality=row["output_quality"],
        removed_at=parse_optional_time(row["removed_at"]),
        pending_response=None if pending is None else PendingResponse(pending),
    )


def shard_to_row(shard: Shard) -> dict[str, Any]:
    return {
        "id": shard.id,
        "job_id": shard.job_id,
        "position": shard.index,
        "params": dump_json(dict(shard.params)),
        "status": shard.status.value,
        "attempts": shard.attempts,
    }


def row_to_shard(row: Row) -> Shard:
    return Shard(
        id=row["id"],
        job_id=row["job_id"],
        index=row["position"],
        params=json.loads(row["params"]),
        status=ShardStatus(row["status"]),
        outputs=tuple(Output(**output) for output in json.loads(row["outputs"])),
        usage=Usage(
            gpu_seconds=row["gpu_seconds"],
            simulated=bool(row["simulated"]),
            load_seconds=row["load_seconds"],
            peak_vram=row["peak_vram"],
            device=row["device"],
            model_digest=row["model_digest"],
            run_ended_at=parse_optional_time(row["run_ended_at"]),
        ),
        attempts=row["attempts"],
        tries=row["tries"],
        deaths=row["deaths"],
    )


def shard_result_to_row(shard: Shard) -> dict[str, Any]:
    """Return the columns of a shard that change."""
    return {
        "status": shard.status.value,
        "outputs": dump_json([to_columns(output) for output in shard.outputs]),
        "attempts": shard.attempts,
        "tries": shard.tries,
        "deaths": shard.deaths,
        **to_columns(shard.usage),
        "run_ended_at": shard.usage.run_ended_at and format_time(shard.usage.run_ended_at),
    }


def attempt_to_row(attempt: Attempt) -> dict[str, Any]:
    return {
        "prompt_id": attempt.prompt_id,
        "shard_id": attempt.shard_id,
        "number": attempt.number,
        "instance_id": attempt.instance_id,
        "started_at": format_time(attempt.started_at),
    }


def row_to_attempt(row: Row) -> Attempt:
    return Attempt(
        prompt_id=row["prompt_id"],
        shard_id=row["shard_id"],
        number=row["number"],
        instance_id=row["instance_id"],
        started_at=parse_time(row["started_at"]),
        ended_at=parse_optional_time(row["ended_at"]),
        outcome=row["outcome"],
        detail=row["detail"],
    )


def entry_to_row(entry: LedgerEntry) -> dict[str, Any]:
    return {**to_columns(entry), "kind": entry.kind.value, "at": format_time(entry.at)}


def row_to_entry(row: Row) -> LedgerEntry:
    return LedgerEntry(
        key=row["key"],
        kind=EntryKind(row["kind"]),
        account_id=row["account_id"],
        source=row["source"],
        target=row["target"],
        micros=row["micros"],
        at=parse_time(row["at"]),
        job_id=row["job_id"],
        reference=row["reference"],
    )


def row_to_usage(row: Row) -> UsageRow:
    return UsageRow(
        day=parse_day(row["day"]),
        account_id=row["account_id"],
        key_id=row["key_id"],
        model=row["model"],
        simulated=bool(row["simulated"]),
        jobs=row["jobs"],
        outputs=row["outputs"],
        micros=row["micros"],
        gpu_seconds=row["gpu_seconds"],
    )


def row_to_metered_usage(row: Row) -> MeteredUsage:
    return MeteredUsage(
        day=parse_day(row["day"]),
        model=row["model"],
        device=row["device"],
        gpu_seconds=row["gpu_seconds"],
        load_seconds=row["load_seconds"],
        bytes_stored=row["bytes_stored"],
        bytes_sent=row["bytes_sent"],
        shards=row["shards"],
        revenue=row["revenue"],
    )


def alert_to_row(alert: Alert) -> dict[str, Any]:
    return {
        **to_columns(alert),
        "watched": alert.watched.value,
        "created_at": format_time(alert.created_at),
    }


def row_to_alert(row: Row) -> Alert:
    return Alert(
        id=row["id"],
        account_id=row["account_id"],
        watched=AlertMetric(row["watched"]),
        threshold=row["threshold"],
        url=row["url"],
        created_at=parse_time(row["created_at"]),
        fired=row["fired"],
    )


def row_to_message(row: Row) -> WebhookMessage:
    return WebhookMessage(
        id=row["id"],
        account_id=row["account_id"],
        topic=row["topic"],
        payload=json.loads(row["payload"]),
        url=row["url"],
        created_at=parse_time(row["created_at"]),
        due_at=parse_optional_time(row["due_at"]),
        attempts=row["attempts"],
        total_attempts=row["total_attempts"],
        delivered_at=parse_optional_time(row["delivered_at"]),
        error=row["error"],
        job_id=row["job_id"],
    )
