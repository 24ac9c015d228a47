"""Credits: what some documents charge in, each with its own worth."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from orchestrator.jobs import Job, JobStatus


def charged(job: Job) -> int:
    """Micro-dollars that a job costs, or will have cost when it succeeds."""
    return 0 if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else job.price


def in_credits(micros: int, unit: Fraction) -> float:
    """An amount for a JSON body; `unit` is what a credit is worth in micro-dollars."""
    return float(Fraction(micros) / unit)


def plain(number: float | Fraction) -> int | float:
    """Without a fraction where there is none: 1 and not 1.0."""
    return int(number) if number == int(number) else float(number)


def in_utc(moment: datetime) -> str:
    """`2026-02-18T10:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
