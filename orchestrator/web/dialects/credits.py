"""Credits: what some documents charge in, each with its own worth."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from orchestrator.jobs import Job, JobStatus


def charged_micros(job: Job) -> int:
    """Micro-dollars that a job costs, or will have cost when it succeeds."""
    return 0 if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else job.price


def to_credits(micros: int, credit_micros: Fraction) -> float:
    """An amount for a JSON body; `credit_micros` is what a credit is worth in micro-dollars."""
    return float(Fraction(micros) / credit_micros)


def to_json_number(number: float | Fraction) -> int | float:
    """Without a fraction where there is none: 1 and not 1.0."""
    return int(number) if number == int(number) else float(number)


def format_utc(moment: datetime) -> str:
    """`2026-02-18T10:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
