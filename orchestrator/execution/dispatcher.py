"""Executes the instructions of the scheduler and reports the results back to it as events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from comfy_instances.fleet.protocol import Fleet, InstanceInfo, InstanceState
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.tasks import end_tasks, keep_running, spawn
from orchestrator.billing.accounts import AccountService
from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import ServiceError
from orchestrator.execution.active_shards import (
    ActiveShard,
    RunningAttempts,
    begin_attempt,
    drop_job,
    drop_waiting,
    final_error,
    record_failure,
)
from orchestrator.execution.failures import AttemptFailure, run_and_classify, to_job_error
from orchestrator.execution.instances.capabilities import ServableModels
from orchestrator.execution.instances.capacity import NO_CAPACITY, Capacity, capacity_of
from orchestrator.execution.instances.instance_guard import InstanceGuard
from orchestrator.execution.instances.quarantine import describe_quarantined_shard
from orchestrator.execution.instances.unserved import explain_unserved, find_superseded, is_settled
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.execution.recovery import AttemptRecovery
from orchestrator.execution.reservations import Reservation, Reservations
from orchestrator.execution.runner import Runner, ShardRun
from orchestrator.execution.scheduler import (
    BlameInstance,
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    Instruction,
    JobAdded,
    JobCancelled,
    JobWithdrawn,
    ModelWarming,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardFailed,
    Tick,
)
from orchestrator.execution.shard_specs import to_shard_spec
from orchestrator.jobs import (
    Attempt,
    FailureKind,
    Job,
    JobError,
    JobRecord,
    PendingResponse,
    Shard,
    ShardStatus,
)
from orchestrator.jobs.options import seconds_to_start
from orchestrator.jobs.traces import traced
from orchestrator.own_graphs.model import model_of_job
from orchestrator.store import Store
from pricing.plans import Plan

log = logging.getLogger(__name__)

#: Interval at which expired and superseded jobs are failed.
TICK_INTERVAL_SECONDS = 5.0


class Dispatcher:
    """Owns the scheduler and the tasks that run attempts."""

    def __init__(
        self,
        *,
        live_catalog: LiveCatalog,
        scheduler: Scheduler,
        runner: Runner,
        lifecycle: JobLifecycle,
        store: Store,
        accounts: AccountService,
        clock: Clock,
        max_job_seconds: float,
    ) -> None:
        self.scheduler = scheduler
        self._live_catalog = live_catalog
        self._runner = runner
        self._lifecycle = lifecycle
        self._store = store
        self._accounts = accounts
        self._recovery = AttemptRecovery(
            live_catalog=live_catalog, runner=runner, store=store, lifecycle=lifecycle
        )
        self._clock = clock
        self._max_job_seconds = max_job_seconds
        self._active_shards: dict[str, ActiveShard] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.running_attempts = RunningAttempts()
        self._reservations = Reservations()
        self._servable_models = ServableModels(runner.capabilities, live_catalog)
        self._instance_guard = InstanceGuard(runner, self.refresh_servable_models)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._tick_task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def fleet(self) -> Fleet:
        """The instances that run the shards."""
        return self._runner.fleet

    @property
    def is_stopping(self) -> bool:
        """Whether the dispatcher starts no further attempts."""
        return self._stopping

    def assigned_shards(self, instance_id: str) -> list[ActiveShard]:
        """Return the shards assigned to an instance, the running one first."""
        instance = self.scheduler.instances.get(instance_id)
        shards = [assignment.spec.shard_id for assignment in instance.assignments] if instance else []
        return [self._active_shards[shard] for shard in shards if shard in self._active_shards]

    def unfinished_shards(self) -> Collection[ActiveShard]:
        """Return all shards that are waiting or running."""
        return self._active_shards.values()

    async def _run_ticks(self) -> None:
        while not self._stopping:
            await asyncio.sleep(TICK_INTERVAL_SECONDS)
            self._handle_event(Tick())
            self._fail_superseded()

    async def start(self, *, callers_remain: bool = False) -> None:
        """Start, queue the waiting shards of earlier processes and recover their running attempts.

        Jobs whose result only a connection of an earlier process could have brought are cancelled, unless
        `callers_remain`: then other processes hold the connections.
        """
        self._unsubscribe = self.fleet.subscribe(self._on_instance_changed)
        for info in self.fleet.instances():
            self._on_instance_changed(info)
        open_attempts = await self._store.list_open_attempts()
        for record in await self._store.list_unfinished_jobs():
            if record.job.pending_response is PendingResponse.RESULT and not callers_remain:
                # The connection that waited for it ended with the earlier process.
                await self._lifecycle.abandon_job(record.job.id)
            else:
                await self.schedule_stored_job(record)
        for attempt in open_attempts:
            self.recover_attempt(attempt)
        self._tick_task = spawn(keep_running(self._run_ticks, "scheduler ticks"), "scheduler ticks")

    async def stop(self, timeout: float) -> None:
        """Start no further attempts and wait up to `timeout` seconds for the running ones.

        Attempts that take longer are recovered by the next process.
        """
        if self._stopping:
            return
        self._stopping = True
        self._unsubscribe()
        if self._tick_task:
            self._tick_task.cancel()
        if self._tasks:
            log.info("waiting up to %g s for %d running shard(s)", timeout, len(self._tasks))
        await end_tasks(self._tasks, timeout)
        await self._instance_guard.stop()
        await self._runner.cleaner.stop()

    async def find_capacity(self, account_id: str, model: str) -> Capacity:
        """Return how soon a new job of an account could start."""
        return NO_CAPACITY if self._stopping else capacity_of(self.scheduler, account_id, model)

    def reserve_job(self, job: Job, shards: Sequence[Shard], plan: Plan) -> Reservation | None:
        """Assign shards of a job that is about to be stored to free instances."""
        if any(shard.id in self._active_shards for shard in shards):
            return None  # a replay under the same id
        with suppress(ServiceError):  # a model that is gone fails the job once it is stored
            model = model_of_job(self._live_catalog, job)
            with self._reservations.begin(job.id) as reservation:
                self._queue_shards(job, shards, model, plan)
            return reservation
        return None

    def withdraw_job(self, job_id: str) -> None:
        """Give back what was reserved for a job that was not stored."""
        if self._reservations.end(job_id, is_stored=False):
            self._handle_event(JobWithdrawn(job_id=job_id))
            self._active_shards = drop_job(self._active_shards, job_id)

    def schedule_job(self, record: JobRecord, plan: Plan) -> None:
        """Queue the waiting shards of a stored job, with the fair share of its account's plan."""
        if self._reservations.end(record.job.id, is_stored=True):
            return
        waiting = [shard for shard in record.shards if shard.status is ShardStatus.WAITING]
        try:
            model = model_of_job(self._live_catalog, record.job)
        except ServiceError as error:
            reason = JobError(code=error.code, message=error.message)
            self._spawn_task(self._lifecycle.fail_job(record.job.id, reason), "job failure", record.job.id)
            return
        fresh = [shard for shard in waiting if shard.id not in self._active_shards]
        self._queue_shards(record.job, fresh, model, plan)

    def _queue_shards(self, job: Job, shards: Sequence[Shard], model: Model, plan: Plan) -> None:
        self._active_shards |= {shard.id: ActiveShard(job=job, shard=shard, model=model) for shard in shards}
        if self._live_catalog.is_outdated(model):
            # The scheduler only knows which instances serve the versions that were in use before.
            self.refresh_servable_models()
        deadline = monotonic() + seconds_to_start(job, self._max_job_seconds, self._clock())
        specs = [to_shard_spec(job, shard, model, deadline, plan) for shard in shards]
        self._handle_event(JobAdded(specs=specs))

    async def schedule_stored_job(self, record: JobRecord) -> None:
        """Queue the waiting shards of a job that an earlier process, or a failure, left in the store."""
        self.schedule_job(record, await self._accounts.get_plan_by_account_id(record.job.account_id))

    def recover_attempt(self, attempt: Attempt) -> None:
        """Follow an attempt that no task of this process runs, or end it."""
        self._spawn_task(self._recover_attempt(attempt), "attempt recovery", attempt.prompt_id)

    def forget_assignment(self, shard_id: str, instance_id: str) -> None:
        """Free the slot of a shard that no task runs; its shard can then be scheduled again."""
        self._handle_event(RunEnded(shard_id=shard_id, instance_id=instance_id, seconds=None))
        self.forget_shard(shard_id)

    def report_warming(self, event: ModelWarming) -> None:
        """Pass on what a run ahead of requests does on an instance."""
        self._handle_event(event)

    def forget_shard(self, shard_id: str) -> None:
        """Take a shard out of scheduler and memory, whatever the store says about it."""
        self._handle_event(ShardDone(shard_id=shard_id))
        self._active_shards.pop(shard_id, None)

    def cancel_job(self, job_id: str) -> None:
        """Remove the job's waiting shards from the queue and cancel the running ones on their instances."""
        self._cancel(JobCancelled(job_id=job_id), lambda shard: shard.startswith(f"{job_id}-"))

    def cancel_shard(self, job_id: str, shard_id: str) -> None:
        """Do the same with one shard of a job."""
        event = JobCancelled(job_id=job_id, shard_id=shard_id)
        self._cancel(event, lambda shard: shard == shard_id)

    def _cancel(self, event: JobCancelled, is_cancelled: Callable[[str], bool]) -> None:
        self._handle_event(event)
        for attempt in self.running_attempts.list_recovering(is_cancelled):
            self._spawn_task(self._cancel_attempt(attempt), "attempt cancellation", attempt.shard_id)
        self._active_shards = drop_waiting(self._active_shards, is_cancelled)

    def refresh_servable_models(self) -> None:
        """Determine again which models each instance can serve, after a change of the catalogue."""
        for info in self.fleet.instances():
            if info.state is InstanceState.READY:
                self._on_instance_changed(info)

    def _fail_superseded(self) -> None:
        """Fail the jobs that wait for an old version or a draft of a model which no instance can run.

        Nothing is decided before the capabilities of all instances are known. Jobs for a current version
        keep waiting, because its files may still be downloaded.
        """
        if self._instance_guard.has_withheld or not is_settled(self.fleet):
            return
        known = self._runner.capabilities
        for active in find_superseded(self._active_shards.values(), self._live_catalog, self.scheduler):
            self.cancel_job(active.job.id)
            reason = explain_unserved(active.model, self._live_catalog, self.fleet, known)
            self._spawn_task(self._lifecycle.fail_job(active.job.id, reason), "job failure", active.job.id)

    def _on_instance_changed(self, info: InstanceInfo) -> None:
        if info.state is InstanceState.READY and self._instance_guard.is_withheld(info.id):
            return
        in_use = (active.model for active in self._active_shards.values())
        self._handle_event(self._servable_models.to_event(info, in_use))

    def _handle_event(self, event: Event) -> None:
        if self._stopping:
            return
        for instruction in self.scheduler.handle(event, monotonic()):
            self._execute(instruction)

    def _execute(self, instruction: Instruction) -> None:
        match instruction:
            case RunShard(shard_id=shard_id, instance_id=instance_id):
                active, attempt = begin_attempt(self._active_shards[shard_id], instance_id, self._clock())
                self._active_shards[shard_id] = active
                run = self._run_attempt(active, attempt, self._reservations.add(active.job.id, attempt))
                self._spawn_task(traced(active.job, run), "attempt", shard_id)
            case CancelShard(shard_id=shard_id):
                if sent := self._active_shards[shard_id].attempt:
                    self._spawn_task(self._cancel_attempt(sent), "attempt cancellation", shard_id)
            case FreeMemory(instance_id=instance_id):
                self._spawn_task(self._runner.free_memory(instance_id), "memory release", instance_id)
            case FailJob(shard_id=shard_id, kind=FailureKind.QUARANTINED):
                self._spawn_task(
                    self._quarantine_shard(self._active_shards[shard_id]), "quarantine", shard_id
                )
            case BlameInstance(instance_id=instance_id):
                self.fleet.record_failure(instance_id)
            case FailJob(job_id=job_id, shard_id=shard_id, kind=kind):
                error = final_error(self._active_shards.get(shard_id), kind)
                self._spawn_task(self._lifecycle.fail_job(job_id, error), "job failure", job_id)

    def _spawn_task(self, coroutine: Coroutine[Any, Any, object], kind: str, subject: str) -> None:
        spawn(coroutine, kind, subject, group=self._tasks)

    async def _run_attempt(
        self, active: ActiveShard, attempt: Attempt, reservation: Reservation | None
    ) -> None:
        """Run one attempt, from its record in the store to the event that reports its result."""
        on_run_ended, instance_id = partial(self._end_run, attempt), attempt.instance_id
        try:
            with self.running_attempts.track(attempt):
                stored = await reservation.wait_stored() if reservation else ()
                if stored is None:
                    return
                starting = self._start_and_run(active, attempt, is_stored=attempt.prompt_id in stored)
                failure = await run_and_classify(starting)
                if failure and failure.kind is FailureKind.BAD_GRAPH:
                    failure = await self._instance_guard.explain_rejection(failure, active.model, instance_id)
                self._check_instance(instance_id, failure)
                on_run_ended(None)
                await self._report_attempt(attempt, failure)
        except Exception:
            # The reconciler continues from what is stored.
            on_run_ended(None)
            self.forget_shard(attempt.shard_id)
            raise

    def _check_instance(self, instance_id: str, failure: AttemptFailure | None) -> None:
        """Withhold an instance that an attempt lost, before its free slot is given to another shard."""
        if failure is None or failure.has_run:
            self._instance_guard.record_run(instance_id)
        if failure and failure.kind is FailureKind.INSTANCE_GONE:
            self._instance_guard.suspend_until_verified(instance_id)
            self._handle_event(InstanceDown(instance_id=instance_id, returns=True))

    def _end_run(self, attempt: Attempt, seconds: float | None) -> None:
        event = RunEnded(shard_id=attempt.shard_id, instance_id=attempt.instance_id, seconds=seconds)
        self._handle_event(event)

    async def _start_and_run(self, active: ActiveShard, attempt: Attempt, *, is_stored: bool) -> None:
        if await self._lifecycle.start_attempt(active.job.id, active.shard, attempt, is_stored=is_stored):
            run = ShardRun(attempt=attempt, job=active.job, shard=active.shard, model=active.model)
            await self._runner.run_attempt(run, partial(self._end_run, attempt))

    async def _recover_attempt(self, attempt: Attempt) -> None:
        with self.running_attempts.track(attempt, recovers=True):
            record = await self._recovery.recover_attempt(attempt)
        if record and not self._stopping:
            await self.schedule_stored_job(record)

    async def _report_attempt(self, attempt: Attempt, failure: AttemptFailure | None) -> None:
        shard_id = attempt.shard_id
        if failure is None:
            self._handle_event(ShardDone(shard_id=shard_id))
        else:
            kind, instance_id = failure.kind, attempt.instance_id
            log.warning("shard %s failed on %s: %s: %s", shard_id, instance_id, kind, failure.detail)
            await self._lifecycle.fail_attempt(attempt, kind, failure.detail, has_run=failure.has_run)
            record_failure(self._active_shards, shard_id, failure)
            if kind in (FailureKind.STALLED, FailureKind.GRAPH_TOO_LONG):
                self._handle_event(InstanceDown(instance_id=instance_id, memory_lost=False))
                self._spawn_task(
                    self._instance_guard.interrupt_or_restart(attempt), "interrupt", attempt.prompt_id
                )
            self._handle_event(
                ShardFailed(shard_id=shard_id, instance_id=instance_id, kind=kind, has_run=failure.has_run)
            )
        if not self.scheduler.has_shard(shard_id):
            self._active_shards.pop(shard_id, None)

    async def _cancel_attempt(self, attempt: Attempt) -> None:
        try:
            await self._runner.cancel_attempt(attempt)
        except InstanceError as error:
            log.info("could not cancel %s: %s", attempt.shard_id, error)

    async def _quarantine_shard(self, active: ActiveShard) -> None:
        """Keep a shard under which instances died for operators, and fail its job."""
        known, first = self._runner.capabilities, next((info.id for info in self.fleet.instances()), "")
        instance_id = active.attempt.instance_id if active.attempt else first
        quarantined = describe_quarantined_shard(active, known, instance_id, self._clock())
        await self._lifecycle.quarantine_shard(quarantined, to_job_error(FailureKind.QUARANTINED))
