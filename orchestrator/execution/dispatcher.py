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
from orchestrator.billing.accounts import Accounts
from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import ServiceError
from orchestrator.execution.capabilities import Offers
from orchestrator.execution.failures import Failure, failure_of, for_caller
from orchestrator.execution.job_lifecycle import Clock, Settlement
from orchestrator.execution.recovery import Recovery
from orchestrator.execution.runner import Run, Runner
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
from orchestrator.execution.shard_specs import work_of
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, Shard, ShardStatus
from orchestrator.store import Store
from pricing.plans import Plan

log = logging.getLogger(__name__)

#: How long a hung run may take to heed an interrupt before its instance is restarted.
INTERRUPT_SECONDS = 10.0
#: How often old jobs are looked for.
TICK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
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
        live: LiveCatalog,
        scheduler: Scheduler,
        runner: Runner,
        settlement: Settlement,
        store: Store,
        accounts: Accounts,
        clock: Clock,
        max_job_seconds: float,
    ) -> None:
        self.scheduler = scheduler
        self._live = live
        self._runner = runner
        self._settlement = settlement
        self._store = store
        self._accounts = accounts
        self._recovery = Recovery(live=live, runner=runner, store=store, settlement=settlement)
        self._clock = clock
        self._max_job_seconds = max_job_seconds
        self._active: dict[str, Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._offers = Offers(runner.kits, live)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def fleet(self) -> Fleet:
        return self._runner.fleet

    @property
    def stopping(self) -> bool:
        """Whether it begins nothing new any more."""
        return self._stopping

    def assigned(self, instance_id: str) -> list[Active]:
        """What an instance has been given, the running shard first."""
        card = self.scheduler.cards.get(instance_id)
        shards = [assignment.work.shard_id for assignment in card.assigned] if card else []
        return [self._active[shard] for shard in shards if shard in self._active]

    def unfinished(self) -> Collection[Active]:
        """Every shard that still needs something."""
        return self._active.values()

    async def _tick(self) -> None:
        while not self._stopping:
            await asyncio.sleep(TICK_SECONDS)
            self._feed(Tick())
            self._give_up()

    async def start(self) -> None:
        """Takes up what an earlier process left: waiting shards wait on, sent ones are looked for."""
        self._unsubscribe = self.fleet.subscribe(self._instance_changed)
        for info in self.fleet.instances():
            self._instance_changed(info)
        sent = await self._store.list_open_attempts()
        for record in await self._store.list_unfinished_jobs():
            self.add(record, await self._accounts.plan_by_id(record.job.account_id))
        for attempt in sent:
            self._spawn(self._recover(attempt))
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self, patience: float) -> None:
        """Begins nothing new, gives running attempts `patience` seconds, leaves the rest for next time."""
        if self._stopping:
            return
        self._stopping = True
        self._unsubscribe()
        if self._ticking:
            self._ticking.cancel()
        if self._tasks:
            log.info("waiting up to %g s for %d running shard(s)", patience, len(self._tasks))
            await asyncio.wait(self._tasks, timeout=patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, record: JobRecord, plan: Plan) -> None:
        """Schedules the waiting shards of a stored job, in its account's share of the fleet."""
        waiting = [shard for shard in record.shards if shard.status is ShardStatus.WAITING]
        fresh = [shard for shard in waiting if shard.id not in self._active]
        try:
            model = self._live.last(record.job.model)
        except ServiceError as gone:
            self._spawn(self._fail(record.job.id, JobError(code=gone.code, message=gone.message)))
            return
        self._active |= {shard.id: Active(job=record.job, shard=shard, model=model) for shard in fresh}
        if self._live.is_old(model):
            self.models_changed()  # which version each instance can serve was told before this was in use
        age = (self._clock() - record.job.created_at).total_seconds()
        deadline = monotonic() + self._max_job_seconds - age
        self._feed(JobAdded(works=[work_of(record.job, shard, model, deadline, plan) for shard in fresh]))

    def drop(self, job_id: str) -> None:
        """The job needs nothing more: waiting shards go, running ones are cancelled."""
        self._feed(JobCancelled(job_id=job_id))
        self._active = {
            shard_id: active
            for shard_id, active in self._active.items()
            if active.attempt or active.job.id != job_id
        }

    def models_changed(self) -> None:
        """The catalogue is another one: what instances can serve is told anew."""
        for info in self.fleet.instances():
            if info.state is InstanceState.READY:
                self._instance_changed(info)

    def _give_up(self) -> None:
        """Fails the jobs that wait for an old version of a model which no instance can run, once each is
        there to say so: what a new version needs may yet be fetched, what an old one needs will not."""
        states = {info.state for info in self.fleet.instances()}
        if InstanceState.READY not in states or states - {InstanceState.READY, InstanceState.FAILED}:
            return
        for active in [one for one in self._active.values() if self._live.is_old(one.model)]:
            waits = active.shard.id in self.scheduler.queue
            if waits and not self.scheduler.can_serve(active.model.digest):
                self.drop(active.job.id)
                self._spawn(self._fail(active.job.id, for_caller("superseded")))

    def _instance_changed(self, info: InstanceInfo) -> None:
        match info.state:
            case InstanceState.READY:
                models = self._offers.of(info.id, (active.model for active in self._active.values()))
                self._feed(InstanceUp(instance_id=info.id, vram=info.vram_total, models=models))
            case InstanceState.DRAINING:
                self._feed(InstanceDown(instance_id=info.id, lost=False))
            case _:
                self._feed(InstanceDown(instance_id=info.id))

    def _feed(self, event: Event) -> None:
        if self._stopping:
            return
        for instruction in self.scheduler.handle(event, monotonic()):
            self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case RunShard(shard_id=shard_id, instance_id=instance_id):
                self._spawn(self._attempt(self._active[shard_id], instance_id))
            case CancelShard(shard_id=shard_id):
                self._spawn(self._cancel(self._active[shard_id]))
            case FreeMemory(instance_id=instance_id):
                self._spawn(self._free(instance_id))
            case FailJob(job_id=job_id, kind=kind):
                self._spawn(self._fail(job_id, for_caller(kind)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, active: Active, instance_id: str) -> None:
        """One attempt from its first row in the store to the event that tells of its end."""
        attempt = Attempt(
            prompt_id=str(uuid.uuid4()),
            shard_id=active.shard.id,
            number=active.shard.attempts + 1,
            instance_id=instance_id,
            started_at=self._clock(),
        )
        active = replace(active, shard=replace(active.shard, attempts=attempt.number), attempt=attempt)
        self._active[attempt.shard_id] = active

        def ended(seconds: float | None) -> None:
            self._feed(RunEnded(shard_id=attempt.shard_id, instance_id=instance_id, seconds=seconds))

        failure = await failure_of(self._run(active, attempt, ended))
        ended(None)
        await self._report(attempt, failure)

    async def _run(self, active: Active, attempt: Attempt, ended: Callable[[float | None], None]) -> None:
        if await self._settlement.begin(active.job.id, active.shard, attempt):
            run = Run(attempt=attempt, job=active.job, shard=active.shard, model=active.model)
            await self._runner.run(run, ended)

    async def _recover(self, attempt: Attempt) -> None:
        again = await self._recovery.look_for(attempt)
        if again and not self._stopping:
            self.add(again, await self._accounts.plan_by_id(again.job.account_id))

    async def _report(self, attempt: Attempt, failure: Failure | None) -> None:
        shard_id = attempt.shard_id
        if failure is None:
            self._feed(ShardDone(shard_id=shard_id))
        else:
            kind, detail = failure
            log.warning("shard %s failed on %s: %s: %s", shard_id, attempt.instance_id, kind, detail)
            await self._settlement.missed(attempt, kind, detail)
            if kind == PromptStalled.kind:
                self._spawn(self._unstick(attempt))
            self._feed(ShardFailed(shard_id=shard_id, instance_id=attempt.instance_id, kind=kind))
        if not self.scheduler.knows(shard_id):
            self._active.pop(shard_id, None)

    async def _cancel(self, active: Active) -> None:
        if active.attempt:
            try:
                await self._runner.cancel(active.attempt)
            except InstanceError as error:
                log.info("could not cancel %s: %s", active.shard.id, error)

    async def _free(self, instance_id: str) -> None:
        try:
            await self.fleet.session(instance_id).free_memory()
        except InstanceError as error:
            log.info("could not free the memory of %s: %s", instance_id, error)

    async def _unstick(self, attempt: Attempt) -> None:
        """Interrupts a hung run; an instance that does not heed that is restarted, if it is ours."""
        self._feed(InstanceDown(instance_id=attempt.instance_id, lost=False))
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await self._runner.cancel(attempt)
        except (InstanceError, TimeoutError):
            log.warning("%s does not heed an interrupt and is restarted", attempt.instance_id)
            await self._restart(attempt.instance_id)
        for info in self.fleet.instances():
            if info.id == attempt.instance_id:
                self._instance_changed(info)

    async def _restart(self, instance_id: str) -> None:
        try:
            await self.fleet.restart(instance_id)
        except FleetError as error:
            log.error("%s hangs: %s", instance_id, error)

    async def _fail(self, job_id: str, error: JobError) -> None:
        await self._settlement.fail(job_id, error)
