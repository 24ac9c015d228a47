"""Counts the errors of an activity that goes on, and logs them once per change."""

from __future__ import annotations

import logging

from comfy_instances.backoff import backoff_delay
from comfy_instances.shortages import is_resource_shortage


class RepeatedErrors:
    """The errors of one activity.

    The first error of a kind in a row is logged: a resource shortage as one line, anything else with its
    traceback. Repetitions are only counted. The recovery is logged with their number.
    """

    def __init__(self, log: logging.Logger, activity: str) -> None:
        """`activity` is the start of every log line, for example `supervision of gpu-0`."""
        self._log = log
        self._activity = activity
        self._kind: str | None = None
        #: Errors since the start of the process, and in a row.
        self.total = 0
        self.in_row = 0

    def record(self, error: BaseException) -> None:
        """Count an error; log it unless the last one was of the same kind."""
        self.total += 1
        self.in_row += 1
        kind = f"{type(error).__name__} {getattr(error, 'errno', None)}"
        if kind == self._kind:
            return
        self._kind = kind
        message = "%s failed and is repeated: %s"
        if is_resource_shortage(error):
            self._log.warning(message, self._activity, error)
        else:
            self._log.error(message, self._activity, error, exc_info=error)

    def clear(self) -> None:
        """Note that the activity succeeded."""
        if self.in_row:
            self._log.info("%s works again after %d error(s)", self._activity, self.in_row)
        self._kind, self.in_row = None, 0

    def backoff(self, first_seconds: float, max_seconds: float) -> float:
        """Return the seconds to wait before the next try."""
        return backoff_delay(self.in_row, first_seconds, max_seconds)
