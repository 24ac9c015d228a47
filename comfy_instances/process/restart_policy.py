"""When to start, restart or give up a local instance. PURE: history and clock in, decision out.

Events make a new `SupervisionHistory`; `decide` looks at it. Times are seconds of one monotonic clock, so a
jump of
the wall clock means nothing here; and an instance is only called hung after several questions in a row
went unanswered, so that a long sleep of our own process is not taken for its silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Unanswered questions in a row before silence counts.
MAX_MISSED_PROBES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """How patient the supervisor is. Durations are seconds."""

    #: From launch to the first answer.
    startup_seconds: float = 120.0
    #: Between two questions after its health.
    probe_seconds: float = 5.0
    #: Between two looks at the model files that it lists.
    file_refresh_seconds: float = 30.0
    #: Silence after which a running instance is stopped.
    hang_timeout_seconds: float = 60.0
    #: Work waits and nothing runs: its worker thread is dead while HTTP lives on.
    stuck_timeout_seconds: float = 30.0
    #: From SIGTERM to SIGKILL.
    stop_timeout_seconds: float = 5.0
    #: Pause after the first failure; doubled by each further one.
    backoff_seconds: float = 0.5
    backoff_max_seconds: float = 60.0
    #: A run that was ready this long closes the chapter of earlier failures.
    stable_seconds: float = 120.0
    #: Failures in a row that open the circuit breaker, and how long it stays open.
    failures_allowed: int = 5
    cooldown_seconds: float = 300.0
    #: Resident bytes above which it is recycled once idle; None: never.
    memory_limit: int | None = None
    #: How long it must have been idle for that.
    idle_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthSample:
    """One answer of an instance to the question how it is."""

    running: int  #: prompts under way
    waiting: int  #: prompts in its queue
    memory: int | None = None  #: resident bytes of its process


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisionHistory:
    """What became of one instance so far."""

    started_at: float | None = None  #: of the present run; None while none runs
    ready_at: float | None = None  #: first answer of the present run
    ended_at: float | None = None  #: of the last run
    runs: int = 0
    failures: int = 0  #: bad ends in a row
    reason: str | None = None  #: of the last end
    missed: int = 0  #: unanswered questions in a row
    silent_since: float | None = None
    stuck_since: float | None = None
    idle_since: float | None = None
    memory: int | None = None

    @property
    def restarts(self) -> int:
        return max(0, self.runs - 1)

    def after_start(self, now: float) -> SupervisionHistory:
        return SupervisionHistory(
            started_at=now,
            ended_at=self.ended_at,
            runs=self.runs + 1,
            failures=self.failures,
            reason=self.reason,
        )

    def after_response(self, now: float, sample: HealthSample) -> SupervisionHistory:
        """It said how it is; the first time, that makes it ready."""
        stuck = sample.waiting > 0 and sample.running == 0
        idle = sample.waiting == 0 and sample.running == 0
        return replace(
            self,
            ready_at=self.ready_at if self.ready_at is not None else now,
            missed=0,
            silent_since=None,
            stuck_since=(self.stuck_since if self.stuck_since is not None else now) if stuck else None,
            idle_since=(self.idle_since if self.idle_since is not None else now) if idle else None,
            memory=sample.memory,
        )

    def after_missed_probe(self, now: float) -> SupervisionHistory:
        """It did not answer."""
        since = self.silent_since if self.silent_since is not None else now
        return replace(self, missed=self.missed + 1, silent_since=since, idle_since=None)

    def after_crash(self, now: float, reason: str, policy: RestartPolicy) -> SupervisionHistory:
        """The process is gone (or could not be launched) and nobody had wished that."""
        stable = self.ready_at is not None and now - self.ready_at >= policy.stable_seconds
        failures = 1 if stable else self.failures + 1
        return SupervisionHistory(ended_at=now, runs=self.runs, failures=failures, reason=reason)

    def after_stop(self, now: float, reason: str) -> SupervisionHistory:
        """The process was stopped because we wished it; old failures are forgotten."""
        return SupervisionHistory(ended_at=now, runs=self.runs, reason=reason)


@dataclass(frozen=True, slots=True)
class Start:
    """Launch it now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Leave it alone until the clock says `until`, or something happens."""

    until: float


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop it now; what follows is decided afresh. A planned one is no failure."""

    reason: str
    planned: bool = False


@dataclass(frozen=True, slots=True)
class CircuitOpen:
    """The circuit breaker is open until then."""

    until: float
    reason: str


Decision = Start | Wait | Restart | CircuitOpen


def decide(history: SupervisionHistory, now: float, policy: RestartPolicy) -> Decision:
    """What to do about one instance that is wanted to run."""
    if history.started_at is None:
        return _decide_while_stopped(history, now, policy)
    if history.ready_at is None:
        deadline = history.started_at + policy.startup_seconds
        if now >= deadline:
            return Restart(f"did not answer within {policy.startup_seconds:g} s of its start")
        return Wait(deadline)
    return _decide_while_running(history, now, policy)


def is_over_memory_limit(history: SupervisionHistory, policy: RestartPolicy) -> bool:
    """Whether it has grown so much that it should be emptied and recycled."""
    limit = policy.memory_limit
    return limit is not None and history.memory is not None and history.memory > limit


def _decide_while_stopped(history: SupervisionHistory, now: float, policy: RestartPolicy) -> Decision:
    if history.ended_at is None or history.failures == 0:
        return Start()
    if history.failures >= policy.failures_allowed:
        until = history.ended_at + policy.cooldown_seconds
        reason = f"ended {history.failures} times in a row, last: {history.reason}"
        return CircuitOpen(until, reason) if now < until else Start()
    until = history.ended_at + restart_backoff(history.failures, policy)
    return Wait(until) if now < until else Start()


def _decide_while_running(history: SupervisionHistory, now: float, policy: RestartPolicy) -> Decision:
    since = history.silent_since
    if (
        since is not None
        and history.missed >= MAX_MISSED_PROBES
        and now - since >= policy.hang_timeout_seconds
    ):
        return Restart(f"hung: no answer for {now - since:.0f} s")
    stuck = history.stuck_since
    if stuck is not None and now - stuck >= policy.stuck_timeout_seconds:
        return Restart(f"stuck: work has waited for {now - stuck:.0f} s and nothing runs")
    idle = history.idle_since
    if is_over_memory_limit(history, policy) and idle is not None and now - idle >= policy.idle_seconds:
        return Restart(f"recycled at {history.memory} resident bytes", planned=True)
    return Wait(now + policy.probe_seconds)


def restart_backoff(failures: int, policy: RestartPolicy) -> float:
    """Seconds between the n-th failure in a row and the next start."""
    return float(min(policy.backoff_max_seconds, policy.backoff_seconds * 2 ** min(failures - 1, 30)))
