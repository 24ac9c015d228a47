"""Decides when to start, restart or stop retrying a local instance. Pure: history and clock in, decision out.

Each event produces a new `SupervisionHistory`, from which `decide` derives the next action. Times are seconds
of one monotonic clock, so changes of the wall clock have no effect. An instance counts as hung only after
several missed probes in a row, so that a pause of the supervising process itself is not taken for a hang.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfy_instances.backoff import backoff_delay

#: Missed probes in a row after which an instance counts as unresponsive.
MAX_MISSED_PROBES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """Timeouts, retry pauses and limits of a supervisor. Durations are seconds."""

    #: Longest time from launch to the first response.
    startup_seconds: float = 120.0
    #: Between two health probes, and the timeout of one.
    probe_seconds: float = 5.0
    #: Between two reads of the instance's model file lists.
    file_refresh_seconds: float = 30.0
    #: A running instance that does not respond for this long is restarted.
    hang_timeout_seconds: float = 60.0
    #: Prompts wait but none runs for this long: the worker thread is dead although HTTP responds.
    stuck_timeout_seconds: float = 30.0
    #: Time between SIGTERM and SIGKILL.
    stop_timeout_seconds: float = 5.0
    #: Pause after the first failure; it doubles with each further one, up to the maximum.
    backoff_seconds: float = 0.5
    backoff_max_seconds: float = 60.0
    #: Longest pause while this process lacks the resources to launch the instance.
    shortage_backoff_max_seconds: float = 5.0
    #: A run that was ready for this long resets the failure count.
    stable_seconds: float = 120.0
    #: Failures in a row that open the circuit breaker, and how long it stays open.
    failures_allowed: int = 5
    cooldown_seconds: float = 300.0
    #: An instance with more resident bytes is restarted once idle; None: no limit.
    memory_limit: int | None = None
    #: How long the instance must be idle before that restart.
    idle_seconds: float = 10.0
    #: Between two looks whether the next start would load other node packs, and how long an instance whose
    #: packs have changed must be idle before its restart.
    pack_check_seconds: float = 10.0
    changed_idle_seconds: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthSample:
    """The result of one successful health probe."""

    running: int  #: running prompts
    waiting: int  #: waiting prompts
    memory: int | None = None  #: resident bytes of the process


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisionHistory:
    """What has happened to one instance so far."""

    started_at: float | None = None  #: start of the current run; None while no process runs
    ready_at: float | None = None  #: first response of the current run
    ended_at: float | None = None  #: end of the last run
    runs: int = 0
    failures: int = 0  #: unplanned ends in a row that count as failures of the instance
    shortages: int = 0  #: starts in a row that this process lacked the resources for
    reason: str | None = None  #: why the last run ended
    missed: int = 0  #: missed probes in a row
    silent_since: float | None = None
    stuck_since: float | None = None
    idle_since: float | None = None
    memory: int | None = None
    #: Whether the next start loads other node packs, and it is this instance's turn to be restarted for it.
    outdated: bool = False

    @property
    def restarts(self) -> int:
        return max(0, self.runs - 1)

    def after_start(self, now: float) -> SupervisionHistory:
        return SupervisionHistory(
            started_at=now,
            ended_at=self.ended_at,
            runs=self.runs + 1,
            failures=self.failures,
            shortages=self.shortages,
            reason=self.reason,
        )

    def after_response(self, now: float, sample: HealthSample) -> SupervisionHistory:
        """A probe succeeded; the first one makes the instance ready."""
        stuck = sample.waiting > 0 and sample.running == 0
        idle = sample.waiting == 0 and sample.running == 0
        return replace(
            self,
            ready_at=self.ready_at if self.ready_at is not None else now,
            shortages=0,
            missed=0,
            silent_since=None,
            stuck_since=(self.stuck_since if self.stuck_since is not None else now) if stuck else None,
            idle_since=(self.idle_since if self.idle_since is not None else now) if idle else None,
            memory=sample.memory,
        )

    def after_missed_probe(self, now: float) -> SupervisionHistory:
        """A probe failed or timed out."""
        since = self.silent_since if self.silent_since is not None else now
        return replace(self, missed=self.missed + 1, silent_since=since, idle_since=None)

    def after_shortage(self, now: float) -> SupervisionHistory:
        """This process lacked the resources to probe: the time until now says nothing about the instance."""
        return replace(
            self,
            started_at=now if self.started_at is not None and self.ready_at is None else self.started_at,
            missed=0,
            silent_since=None,
            stuck_since=None,
            idle_since=None,
        )

    def after_prevented_start(self, now: float, reason: str) -> SupervisionHistory:
        """This process lacked the resources to launch the instance, which is no failure of the instance."""
        return SupervisionHistory(
            ended_at=now,
            runs=self.runs,
            failures=self.failures,
            shortages=self.shortages + 1,
            reason=reason,
        )

    def after_crash(
        self, now: float, reason: str, policy: RestartPolicy, *, under_prompt: bool = False
    ) -> SupervisionHistory:
        """The process ended, or could not be launched, without a request to stop it.

        An end `under_prompt` does not count: the prompt may be the cause. `after_blame` counts it later if
        the prompt turns out not to be.
        """
        earlier = 0 if self._is_stable(now, policy) else self.failures
        failures = earlier if under_prompt else earlier + 1
        return SupervisionHistory(ended_at=now, runs=self.runs, failures=failures, reason=reason)

    def after_blame(self, now: float, policy: RestartPolicy) -> SupervisionHistory:
        """The prompt that ran at an earlier end is not its cause: the end counts as a failure."""
        return self if self._is_stable(now, policy) else replace(self, failures=self.failures + 1)

    def _is_stable(self, now: float, policy: RestartPolicy) -> bool:
        return self.ready_at is not None and now - self.ready_at >= policy.stable_seconds

    def after_stop(self, now: float, reason: str) -> SupervisionHistory:
        """The process was stopped on request, which resets the failure count."""
        return SupervisionHistory(ended_at=now, runs=self.runs, reason=reason)


@dataclass(frozen=True, slots=True)
class Start:
    """Launch the process now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until `until` or until something changes."""

    until: float


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop the process now; the next decision starts it again. A planned restart is not a failure."""

    reason: str
    planned: bool = False


@dataclass(frozen=True, slots=True)
class CircuitOpen:
    """Too many failures in a row: do not start the process before `until`."""

    until: float
    reason: str


Decision = Start | Wait | Restart | CircuitOpen


def decide(history: SupervisionHistory, now: float, policy: RestartPolicy) -> Decision:
    """Return the next action for an instance that should be running."""
    if history.started_at is None:
        return _decide_while_stopped(history, now, policy)
    if history.ready_at is None:
        deadline = history.started_at + policy.startup_seconds
        if now >= deadline:
            return Restart(f"did not respond within {policy.startup_seconds:g} s after its start")
        return Wait(deadline)
    return _decide_while_running(history, now, policy)


def is_over_memory_limit(history: SupervisionHistory, policy: RestartPolicy) -> bool:
    """Whether the process uses more memory than the policy allows."""
    limit = policy.memory_limit
    return limit is not None and history.memory is not None and history.memory > limit


def is_draining(history: SupervisionHistory, policy: RestartPolicy) -> bool:
    """Whether the process gets no further prompts, because it is restarted once idle."""
    return history.outdated or is_over_memory_limit(history, policy)


def _decide_while_stopped(history: SupervisionHistory, now: float, policy: RestartPolicy) -> Decision:
    if history.ended_at is None:
        return Start()
    if history.shortages:
        until = history.ended_at + backoff_delay(
            history.shortages, policy.backoff_seconds, policy.shortage_backoff_max_seconds
        )
        return Wait(until) if now < until else Start()
    if history.failures == 0:
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
        return Restart(f"hung: no response for {now - since:.0f} s")
    stuck = history.stuck_since
    if stuck is not None and now - stuck >= policy.stuck_timeout_seconds:
        return Restart(f"stuck: prompts have waited for {now - stuck:.0f} s and none runs")
    idle = history.idle_since
    if is_over_memory_limit(history, policy) and idle is not None and now - idle >= policy.idle_seconds:
        return Restart(f"restarted to free memory: {history.memory} resident bytes", planned=True)
    if history.outdated and idle is not None and now - idle >= policy.changed_idle_seconds:
        return Restart("restarted to load changed node packs", planned=True)
    return Wait(now + policy.probe_seconds)


def restart_backoff(failures: int, policy: RestartPolicy) -> float:
    """Return the seconds between the n-th failure in a row and the next start."""
    return backoff_delay(failures, policy.backoff_seconds, policy.backoff_max_seconds)
