"""What each instance did in the last hour, what failed, and what the fleet earned. An observer of events.

It is kept in memory, because it is only for looking at: after a start it begins anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.jobs import FailureKind, JobStatus
from orchestrator.jobs.events import AttemptFailed, ExecutionEvent, JobChanged, PromptFinished, ShardStarted

#: Length of the history.
MINUTES = 60
HOUR_SECONDS = 60.0 * MINUTES
#: Most events of the last hour that are remembered; beyond it, sums are of the latest ones.
MAX_REMEMBERED = 200_000


class Activity(StrEnum):
    """What an instance does."""

    BUSY = "busy"  #: runs a prompt
    LOADING = "loading"  #: loads a model for a prompt
    IDLE = "idle"  #: could run one
    DRAINED = "drained"  #: gets none, because an operator has drained it
    DOWN = "down"  #: cannot run one


#: How a minute is written in which an activity other than running prompts took the most time.
_LETTERS = {Activity.LOADING: "l", Activity.DRAINED: "r", Activity.DOWN: "d"}
#: How a minute is written of which nothing is known.
UNKNOWN = "."


@dataclass(slots=True)
class _Track:
    """The history of one instance. Times are seconds since the epoch."""

    #: Up to when its seconds are counted.
    counted_until: float
    state: InstanceState = InstanceState.STARTING
    #: Shards that it runs or holds.
    shards: set[str] = field(default_factory=set)
    #: Seconds by activity, by minute since the epoch.
    minutes: dict[int, dict[Activity, float]] = field(default_factory=dict)

    @property
    def activity(self) -> Activity:
        if self.state not in (InstanceState.READY, InstanceState.DRAINING):
            return Activity.DOWN
        if self.shards:
            return Activity.BUSY
        return Activity.DRAINED if self.state is InstanceState.DRAINING else Activity.IDLE

    def count_until(self, now: float) -> None:
        """Count the time since the last change for what it did since then."""
        self._add(max(self.counted_until, now - HOUR_SECONDS), now, self.activity)
        self.counted_until = max(self.counted_until, now)
        first = int(now // 60) - MINUTES
        for minute in [minute for minute in self.minutes if minute <= first]:
            del self.minutes[minute]

    def move_to_loading(self, start: float, seconds: float) -> None:
        """Count some seconds of a run as loading, now that it is known."""
        for minute, part in _split(start, start + seconds):
            counted = self.minutes.get(minute, {})
            moved = min(part, counted.get(Activity.BUSY, 0.0))
            if moved > 0:
                counted[Activity.BUSY] -= moved
                counted[Activity.LOADING] = counted.get(Activity.LOADING, 0.0) + moved

    def _add(self, start: float, end: float, activity: Activity) -> None:
        for minute, part in _split(start, end):
            counted = self.minutes.setdefault(minute, {})
            counted[activity] = counted.get(activity, 0.0) + part


class FleetHistory:
    """The last hour of a fleet."""

    def __init__(
        self, clock: Callable[[], datetime], assigned_shards: Callable[[str], Iterable[str]] = lambda _: ()
    ) -> None:
        """`assigned_shards` returns the shards that an instance has according to the scheduler."""
        self._clock = clock
        self._assigned_shards = assigned_shards
        self._tracks: dict[str, _Track] = {}
        self._failures: deque[float] = deque(maxlen=MAX_REMEMBERED)
        #: When jobs were charged, and micro-dollars.
        self._earnings: deque[tuple[float, int]] = deque(maxlen=MAX_REMEMBERED)

    def observe_event(self, event: ExecutionEvent) -> None:
        """Count an event."""
        now = self._now()
        match event:
            case ShardStarted(instance_id=instance_id, shard_id=shard_id):
                track = self._counted_track(instance_id, now)
                track.shards = {*track.shards.intersection(self._assigned_shards(instance_id)), shard_id}
            case PromptFinished(instance_id=instance_id, shard_id=shard_id, usage=usage):
                track = self._counted_track(instance_id, now)
                track.shards.discard(shard_id)
                track.move_to_loading(now - usage.gpu_seconds, usage.load_seconds)
            case AttemptFailed(instance_id=instance_id, shard_id=shard_id, kind=kind):
                self._counted_track(instance_id, now).shards.discard(shard_id)
                if kind not in (FailureKind.CANCELLED, FailureKind.ABANDONED):
                    self._failures.append(now)
            case JobChanged(record=record, final=True) if record.job.status is JobStatus.SUCCEEDED:
                self._earnings.append((now, record.job.price))

    def on_instance_changed(self, info: InstanceInfo) -> None:
        """Note the state of an instance."""
        track = self._counted_track(info.id, self._now())
        track.state = info.state
        if track.activity is Activity.DOWN:
            track.shards.clear()

    def describe(self, instance_id: str) -> str:
        """Return one character per minute of the last hour, oldest first.

        `0` to `9` say which share of the minute it ran prompts. `l`, `r` and `d` are minutes in which it
        mostly loaded a model, was drained, or was down; `.` those of which nothing is known.
        """
        now = self._now()
        track = self._tracks.get(instance_id)
        if track is None:
            return UNKNOWN * MINUTES
        track.count_until(now)
        last = int(now // 60)
        minutes = range(last - MINUTES + 1, last + 1)
        return "".join(_to_letter(track.minutes.get(minute, {})) for minute in minutes)

    def count_failures(self) -> int:
        """Return how many attempts failed in the last hour."""
        self._forget_old()
        return len(self._failures)

    def usd_per_gpu_hour(self) -> float | None:
        """Return the earnings of the last hour by hour in which an instance could run prompts.

        None while there was no such time.
        """
        now = self._now()
        self._forget_old()
        seconds = 0.0
        for track in self._tracks.values():
            track.count_until(now)
            for counted in track.minutes.values():
                seconds += sum(part for activity, part in counted.items() if activity is not Activity.DOWN)
        return sum(micros for _, micros in self._earnings) / 1e6 / (seconds / 3600) if seconds else None

    def _counted_track(self, instance_id: str, now: float) -> _Track:
        track = self._tracks.setdefault(instance_id, _Track(now))
        track.count_until(now)
        return track

    def _forget_old(self) -> None:
        start = self._now() - HOUR_SECONDS
        while self._failures and self._failures[0] < start:
            self._failures.popleft()
        while self._earnings and self._earnings[0][0] < start:
            self._earnings.popleft()

    def _now(self) -> float:
        return self._clock().timestamp()


def _split(start: float, end: float) -> Iterable[tuple[int, float]]:
    """Yield the minutes of a period since the epoch, with the seconds of it in each."""
    while start < end:
        minute = int(start // 60)
        until = min(end, 60.0 * (minute + 1))
        yield minute, until - start
        start = until


def _to_letter(counted: dict[Activity, float]) -> str:
    total = sum(counted.values())
    if total <= 0:
        return UNKNOWN
    busiest = max(counted, key=lambda activity: counted[activity])
    return _LETTERS.get(busiest) or str(min(9, int(10 * counted.get(Activity.BUSY, 0.0) / total)))
