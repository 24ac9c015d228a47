"""How busy an instance was of late, and how long it stood idle between two prompts.

Pure: times are seconds of one monotonic clock and always passed in.
"""

from __future__ import annotations

from collections import deque

#: How far back `busy_ratio` looks.
WINDOW_SECONDS = 60.0


class UtilizationTracker:
    """One instance, from what is told of its prompts: given to it, run to their end, or missed."""

    def __init__(self, now: float, window_seconds: float = WINDOW_SECONDS) -> None:
        self._created_at = now
        self._window_seconds = window_seconds
        #: When each shard that it has was given to it, the one that runs first.
        self._assigned_at: dict[str, float] = {}
        #: Begin and end of earlier runs, oldest first.
        self._runs: deque[tuple[float, float]] = deque()
        #: End of the last run; None where something else came after it.
        self._idle_since: float | None = None

    def shard_assigned(self, shard_id: str, now: float) -> None:
        self._assigned_at[shard_id] = now

    def shard_succeeded(
        self, shard_id: str, now: float, run_seconds: float, wait_seconds: float
    ) -> float | None:
        """A prompt has run for `seconds`, after its job had waited for `wait_seconds`.

        Answers how long the instance stood idle before it although the job was there already; None where
        that is not known, because no other run came straight before.
        """
        begun = now - run_seconds
        gap = None if self._idle_since is None else max(0.0, min(begun - self._idle_since, wait_seconds))
        self._record_run(shard_id, begun, now)
        self._idle_since = now
        return gap

    def shard_failed(self, shard_id: str, now: float) -> None:
        """An attempt came to nothing; if it was the one that ran, the instance was busy with it."""
        if next(iter(self._assigned_at), None) == shard_id:
            self._record_run(shard_id, self._running_since(), now)
        self._assigned_at.pop(shard_id, None)
        self._idle_since = None

    def reset_idle(self) -> None:
        """The instance takes no work at present: that is no gap between prompts."""
        self._idle_since = None

    def busy_ratio(self, now: float) -> float:
        """Share of the last seconds in which a prompt was under way, 0 to 1."""
        start = max(self._created_at, now - self._window_seconds)
        spans = [*self._runs, (self._running_since(), now)] if self._assigned_at else self._runs
        covered, reached = 0.0, start
        for begun, ended in spans:
            covered += max(0.0, ended - max(begun, reached))
            reached = max(reached, ended)
        return min(1.0, covered / (now - start)) if now > start else 0.0

    def _running_since(self) -> float:
        """When the first of its prompts can have begun."""
        given = next(iter(self._assigned_at.values()))
        return max(given, self._runs[-1][1]) if self._runs else given

    def _record_run(self, shard_id: str, started_at: float, now: float) -> None:
        self._assigned_at.pop(shard_id, None)
        self._runs.append((started_at, now))
        while self._runs[0][1] < now - self._window_seconds:
            self._runs.popleft()
