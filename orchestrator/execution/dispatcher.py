"""The shell around the scheduler: carries out its instructions, feeds back what came of them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from comfy_instances.fleet.protocol import Fleet, FleetError, InstanceInfo, InstanceState
from comfy_instances.protocol.errors import InstanceError, PromptStalled
from orchestrator.billing.accounts import AccountService
from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import ServiceError
from orchestrator.execution.capabilities import ServableModels
from orchestrator.execution.failures import ClassifiedFailure, run_and_classify, to_job_error
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.execution.recovery import AttemptRecovery
from orchestrator.execution.runner import Runner, ShardRun
from orchestrator.execution.scheduler import (
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardFailed,
    Tick,
)
from orchestrator.execution.shard_specs import to_shard_spec
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, Shard, ShardStatus
from orchestrator.store import Store
from pricing.plans import Plan

log = logging.getLogger(__name__)

#: How long a hung run may take to heed an interrupt before its instance is restarted.
INTERRUPT_TIMEOUT_SECONDS = 10.0
#: How often old jobs are looked for.
TICK_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveShard:
    """A shard that is not finished, with its attempt once that has begun."""

    job: Job
    shard: Shard
    #: As it was when the job came in: a job is done by one version, whatever becomes of the catalogue.
    model: Model
    attempt: Attempt | None = None


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
        self._tasks: set[asyncio.Task[None]] = set()
        self._servable_models = ServableModels(runner.capabilities, live_catalog)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._tick_task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def fleet(self) -> Fleet:
        return self._runner.fleet

    @property
    def is_stopping(self) -> bool:
        """Whether it begins nothing new any more."""
        return self._stopping

    def assigned_shards(self, instance_id: str) -> list[ActiveShard]:
        """What an instance has been given, the running shard first."""
        card = self.scheduler.instances.get(instance_id)
        shards = [assignment.spec.shard_id for assignment in card.assignments] if card else []
        return [self._active_shards[shard] for shard in shards if shard in self._active_shards]

    def unfinished_shards(self) -> Collection[ActiveShard]:
        """Every shard that still needs something."""
        return self._active_shards.values()

    async def _run_ticks(self) -> None:
        while not self._stopping:
            await asyncio.sleep(TICK_INTERVAL_SECONDS)
            self._handle_event(Tick())
            self._fail_superseded()

    async def start(self) -> None:
        """Takes up what an earlier process left: waiting shards wait on, sent ones are looked for."""
        self._unsubscribe = self.fleet.subscribe(self._on_instance_changed)
        for info in self.fleet.instances():
            self._on_instance_changed(info)
        sent = await self._store.list_open_attempts()
        for record in await self._store.list_unfinished_jobs():
            self.schedule_job(record, await self._accounts.get_plan_by_account_id(record.job.account_id))
        for attempt in sent:
            self._spawn_task(self._recover_attempt(attempt))
        self._tick_task = asyncio.create_task(self._run_ticks())

    async def stop(self, timeout: float) -> None:
        """Begins nothing new, gives running attempts `patience` seconds, leaves the rest for next time."""
        if self._stopping:
            return
        self._stopping = True
        self._unsubscribe()
        if self._tick_task:
            self._tick_task.cancel()
        if self._tasks:
            log.info("waiting up to %g s for %d running shard(s)", timeout, len(self._tasks))
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def schedule_job(self, record: JobRecord, plan: Plan) -> None:
        """Schedules the waiting shards of a stored job, in its account's share of the fleet."""
        waiting = [shard for shard in record.shards if shard.status is ShardStatus.WAITING]
        fresh = [shard for shard in waiting if shard.id not in self._active_shards]
        try:
            model = self._live_catalog.get_known_model(record.job.model)
        except ServiceError as gone:
            self._spawn_task(self._fail_job(record.job.id, JobError(code=gone.code, message=gone.message)))
            return
        self._active_shards |= {
            shard.id: ActiveShard(job=record.job, shard=shard, model=model) for shard in fresh
        }
        if self._live_catalog.is_outdated(model):
            # The scheduler was told which versions instances serve before this one was in use.
            self.refresh_servable_models()
        age = (self._clock() - record.job.created_at).total_seconds()
        deadline = monotonic() + self._max_job_seconds - age
        self._handle_event(
            JobAdded(specs=[to_shard_spec(record.job, shard, model, deadline, plan) for shard in fresh])
        )

    def cancel_job(self, job_id: str) -> None:
        """The job needs nothing more: waiting shards go, running ones are cancelled."""
        self._handle_event(JobCancelled(job_id=job_id))
        self._active_shards = {
            shard_id: active
            for shard_id, active in self._active_shards.items()
            if active.attempt or active.job.id != job_id
        }

    def refresh_servable_models(self) -> None:
        """The catalogue is another one: what instances can serve is told anew."""
        for info in self.fleet.instances():
            if info.state is InstanceState.READY:
                self._on_instance_changed(info)

    def _fail_superseded(self) -> None:
        """Fails the jobs that wait for an old version of a model which no instance can run, once each is
        there to say so: what a new version needs may yet be fetched, what an old one needs will not."""
        states = {info.state for info in self.fleet.instances()}
        if InstanceState.READY not in states or states - {InstanceState.READY, InstanceState.FAILED}:
            return
        for active in [
            one for one in self._active_shards.values() if self._live_catalog.is_outdated(one.model)
        ]:
            waits = active.shard.id in self.scheduler.queue
            if waits and not self.scheduler.can_serve(active.model.digest):
                self.cancel_job(active.job.id)
                self._spawn_task(self._fail_job(active.job.id, to_job_error("superseded")))

    def _on_instance_changed(self, info: InstanceInfo) -> None:
        match info.state:
            case InstanceState.READY:
                models = self._servable_models.find_servable(
                    info.id, (active.model for active in self._active_shards.values())
                )
                self._handle_event(InstanceUp(instance_id=info.id, vram=info.vram_total, models=models))
            case InstanceState.DRAINING:
                self._handle_event(InstanceDown(instance_id=info.id, memory_lost=False))
            case _:
                self._handle_event(InstanceDown(instance_id=info.id))

    def _handle_event(self, event: Event) -> None:
        if self._stopping:
            return
        for instruction in self.scheduler.handle(event, monotonic()):
            self._execute(instruction)

    def _execute(self, instruction: Instruction) -> None:
        match instruction:
            case RunShard(shard_id=shard_id, instance_id=instance_id):
                self._spawn_task(self._run_attempt(self._active_shards[shard_id], instance_id))
            case CancelShard(shard_id=shard_id):
                self._spawn_task(self._cancel_attempt(self._active_shards[shard_id]))
            case FreeMemory(instance_id=instance_id):
                self._spawn_task(self._free_memory(instance_id))
            case FailJob(job_id=job_id, kind=kind):
                self._spawn_task(self._fail_job(job_id, to_job_error(kind)))

    def _spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_attempt(self, active: ActiveShard, instance_id: str) -> None:
        """One attempt from its first row in the store to the event that tells of its end."""
        attempt = Attempt(
            prompt_id=str(uuid.uuid4()),
            shard_id=active.shard.id,
            number=active.shard.attempts + 1,
            instance_id=instance_id,
            started_at=self._clock(),
        )
        active = replace(active, shard=replace(active.shard, attempts=attempt.number), attempt=attempt)
        self._active_shards[attempt.shard_id] = active

        def on_run_ended(seconds: float | None) -> None:
            self._handle_event(RunEnded(shard_id=attempt.shard_id, instance_id=instance_id, seconds=seconds))

        failure = await run_and_classify(self._start_and_run(active, attempt, on_run_ended))
        on_run_ended(None)
        await self._report_attempt(attempt, failure)

    async def _start_and_run(
        self, active: ActiveShard, attempt: Attempt, on_run_ended: Callable[[float | None], None]
    ) -> None:
        if await self._lifecycle.start_attempt(active.job.id, active.shard, attempt):
            run = ShardRun(attempt=attempt, job=active.job, shard=active.shard, model=active.model)
            await self._runner.run_attempt(run, on_run_ended)

    async def _recover_attempt(self, attempt: Attempt) -> None:
        again = await self._recovery.recover_attempt(attempt)
        if again and not self._stopping:
            self.schedule_job(again, await self._accounts.get_plan_by_account_id(again.job.account_id))

    async def _report_attempt(self, attempt: Attempt, failure: ClassifiedFailure | None) -> None:
        shard_id = attempt.shard_id
        if failure is None:
            self._handle_event(ShardDone(shard_id=shard_id))
        else:
            kind, detail = failure
            log.warning("shard %s failed on %s: %s: %s", shard_id, attempt.instance_id, kind, detail)
            await self._lifecycle.fail_attempt(attempt, kind, detail)
            if kind == PromptStalled.kind:
                self._spawn_task(self._interrupt_or_restart(attempt))
            self._handle_event(ShardFailed(shard_id=shard_id, instance_id=attempt.instance_id, kind=kind))
        if not self.scheduler.has_shard(shard_id):
            self._active_shards.pop(shard_id, None)

    async def _cancel_attempt(self, active: ActiveShard) -> None:
        if active.attempt:
            try:
                await self._runner.cancel_attempt(active.attempt)
            except InstanceError as error:
                log.info("could not cancel %s: %s", active.shard.id, error)

    async def _free_memory(self, instance_id: str) -> None:
        try:
            await self.fleet.session(instance_id).free_memory()
        except InstanceError as error:
            log.info("could not free the memory of %s: %s", instance_id, error)

    async def _interrupt_or_restart(self, attempt: Attempt) -> None:
        """Interrupts a hung run; an instance that does not heed that is restarted, if it is ours."""
        self._handle_event(InstanceDown(instance_id=attempt.instance_id, memory_lost=False))
        try:
            async with asyncio.timeout(INTERRUPT_TIMEOUT_SECONDS):
                await self._runner.cancel_attempt(attempt)
        except (InstanceError, TimeoutError):
            log.warning("%s does not heed an interrupt and is restarted", attempt.instance_id)
            await self._restart_instance(attempt.instance_id)
        for info in self.fleet.instances():
            if info.id == attempt.instance_id:
                self._on_instance_changed(info)

    async def _restart_instance(self, instance_id: str) -> None:
        try:
            await self.fleet.restart(instance_id)
        except FleetError as error:
            log.error("%s hangs: %s", instance_id, error)

    async def _fail_job(self, job_id: str, error: JobError) -> None:
        await self._lifecycle.fail_job(job_id, error)
