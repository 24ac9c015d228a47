"""Credits, the unit in which some dialects state prices; each price list defines what its credit is worth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from types import MappingProxyType

from orchestrator.errors import InsufficientBalance
from orchestrator.jobs import Job, JobStatus
from pricing.money import MICROS_PER_DOLLAR

#: Amounts in credits by the amount in US dollars of which they are made.
CREDIT_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "creditCost": "required_usd",
        "creditsRemaining": "available_usd",
        "creditsSpent": "spent_usd",
        "creditCap": "cap_usd",
    }
)


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


def in_credits(error: InsufficientBalance, credit_micros: Fraction) -> InsufficientBalance:
    """Return the error with its amounts in credits of `credit_micros` micro-dollars each.

    The fields are those of the response to a run: `creditCost`, and `creditsRemaining` if known.
    """
    credits = {
        name: to_json_number(Fraction(round(error.details[field] * MICROS_PER_DOLLAR)) / credit_micros)
        for name, field in CREDIT_FIELDS.items()
        if field in error.details
    }
    if error.code != InsufficientBalance.default_code:
        message = (
            f"Spend cap of the API key exceeded: this request costs {credits['creditCost']:g} credits, and"
            f" the key has spent or reserved {credits['creditsSpent']:g} of its {credits['creditCap']:g} per"
            f" {error.details['period']}. Raise the cap or use another key."
        )
    elif "creditsRemaining" in credits:
        message = (
            f"Insufficient credits: this request costs {credits['creditCost']:g}, but only"
            f" {credits['creditsRemaining']:g} are available. Add credits and retry."
        )
    else:
        message = (
            "Insufficient credits: they do not cover the price of this request,"
            f" {credits['creditCost']:g}. Add credits and retry."
        )
    period = {name: value for name, value in error.details.items() if name == "period"}
    return InsufficientBalance(message, code=error.code, details={**credits, **period})
