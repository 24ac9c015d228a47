"""Utilization of an instance: its busy share, and idle gaps between two prompts.

Pure: all times are seconds of one monotonic clock and passed in.
"""

from __future__ import annotations

from collections import deque

#: Period that `busy_ratio` covers.
WINDOW_SECONDS = 60.0


class UtilizationTracker:
    """Tracks the shards of one instance: assigned, succeeded or failed."""

    def __init__(self, now: float, window_seconds: float = WINDOW_SECONDS) -> None:
        self._created_at = now
        self._window_seconds = window_seconds
        #: Time of assignment of each shard, the running one first.
        self._assigned_at: dict[str, float] = {}
        #: Start and end of earlier runs, oldest first.
        self._runs: deque[tuple[float, float]] = deque()
        #: End of the last run; None if the next gap is not to be measured.
        self._idle_since: float | None = None

    def shard_assigned(self, shard_id: str, now: float) -> None:
        """Record that a shard was assigned to the instance."""
        self._assigned_at[shard_id] = now

    def shard_succeeded(
        self, shard_id: str, now: float, run_seconds: float, wait_seconds: float
    ) -> float | None:
        """Record a prompt that ran for `run_seconds` after its job had waited for `wait_seconds`.

        Returns how long the instance was idle before it although the job was waiting; None if no other run
        came directly before.
        """
        started_at = now - run_seconds
        gap = None if self._idle_since is None else max(0.0, min(started_at - self._idle_since, wait_seconds))
        self._record_run(shard_id, started_at, now)
        self._idle_since = now
        return gap

    def shard_failed(self, shard_id: str, now: float) -> None:
        """Record a failed attempt. If it was the running one, the instance was busy with it."""
        if next(iter(self._assigned_at), None) == shard_id:
            self._record_run(shard_id, self._running_since(), now)
        self._assigned_at.pop(shard_id, None)
        self._idle_since = None

    def reset_idle(self) -> None:
        """Do not measure the next gap, because the instance accepts no work at present."""
        self._idle_since = None

    def busy_ratio(self, now: float) -> float:
        """Return the share of the period in which a prompt was running, 0 to 1."""
        start = max(self._created_at, now - self._window_seconds)
        spans = [*self._runs, (self._running_since(), now)] if self._assigned_at else self._runs
        covered, covered_until = 0.0, start
        for started_at, ended_at in spans:
            covered += max(0.0, ended_at - max(started_at, covered_until))
            covered_until = max(covered_until, ended_at)
        return min(1.0, covered / (now - start)) if now > start else 0.0

    def _running_since(self) -> float:
        """Return when the running prompt started, at the earliest."""
        assigned_at = next(iter(self._assigned_at.values()))
        return max(assigned_at, self._runs[-1][1]) if self._runs else assigned_at

    def _record_run(self, shard_id: str, started_at: float, now: float) -> None:
        self._assigned_at.pop(shard_id, None)
        self._runs.append((started_at, now))
        while self._runs[0][1] < now - self._window_seconds:
            self._runs.popleft()
