"""Log lines about clients: at most one a second for each kind, with the number of those left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

INTERVAL_SECONDS = 1.0


class QuietLog:
    """Logs one kind of event at most once a second."""

    def __init__(
        self, log: logging.Logger, clock: Callable[[], float] = monotonic, level: int = logging.WARNING
    ) -> None:
        self._log = log
        self._clock = clock
        self._level = level
        self._logged_at = -INTERVAL_SECONDS
        self._left_out = 0

    def write(self, message: str, *arguments: object) -> bool:
        """Log the message, unless one was logged less than a second ago; return whether it was logged."""
        now = self._clock()
        if now - self._logged_at < INTERVAL_SECONDS:
            self._left_out += 1
            return False
        suffix = f" ({self._left_out} more like this were not logged)" if self._left_out else ""
        self._logged_at, self._left_out = now, 0
        self._log.log(self._level, message + suffix, *arguments)
        return True
