"""The pause between two attempts, shared by everything that retries."""

from __future__ import annotations

#: Caps the exponent, so that a long series of failures cannot overflow.
_MAX_DOUBLINGS = 30


def backoff_delay(failures: int, first_seconds: float, max_seconds: float) -> float:
    """Return the seconds to wait after `failures` (1 or more) failures in a row.

    The delay starts at `first_seconds`, doubles with each further failure and never exceeds `max_seconds`.
    """
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return float(min(max_seconds, first_seconds * 2**doublings))
