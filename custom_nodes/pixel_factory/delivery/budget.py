"""Bytes that deliveries may hold in memory; who needs more waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds between two checks whether the waiting node was interrupted.
_CHECK_SECONDS = 0.2


class Budget:
    """A number of bytes. One that is larger than all of it is let in alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        #: Nodes that wait now, and the seconds that nodes have waited so far.
        self.waiting = 0
        self.waited_seconds = 0.0
        self._changed = threading.Condition()

    def acquire(self, count: int, check: Callable[[], None] = lambda: None) -> float:
        """Reserve bytes; return the seconds that it had to wait for them.

        `check` is called while it waits; its exceptions end the wait, with nothing reserved.
        """
        with self._changed:
            if self._admits(count):
                self.used += count
                return 0.0
            started = time.monotonic()
            self.waiting += 1
            try:
                while not self._admits(count):
                    self._changed.wait(_CHECK_SECONDS)
                    check()
                self.used += count
            finally:
                waited = time.monotonic() - started
                self.waiting -= 1
                self.waited_seconds += waited
            return waited

    def resize(self, before: int, after: int) -> None:
        """Exchange a reservation for another one, which is not refused."""
        with self._changed:
            self.used += after - before
            self._changed.notify_all()

    def release(self, count: int) -> None:
        """Give bytes back."""
        self.resize(count, 0)

    def _admits(self, count: int) -> bool:
        return self.used == 0 or self.used + count <= self.limit
