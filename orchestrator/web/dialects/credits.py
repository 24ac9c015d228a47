"""Credits, the unit in which some dialects state prices; each price list defines what its credit is worth."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from orchestrator.jobs import Job, JobStatus


def charged_micros(job: Job) -> int:
    """Return the micro-dollars that a job costs, or will cost if it succeeds."""
    return 0 if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else job.price


def to_credits(micros: int, credit_micros: Fraction) -> float:
    """Convert micro-dollars to credits of `credit_micros` micro-dollars each."""
    return float(Fraction(micros) / credit_micros)


def to_json_number(number: float | Fraction) -> int | float:
    """Return an integer where the number has no fraction: 1, not 1.0."""
    return int(number) if number == int(number) else float(number)


def format_utc(moment: datetime) -> str:
    """Format a time as `2026-02-18T10:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
