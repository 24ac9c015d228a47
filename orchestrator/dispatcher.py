"""The shell around the scheduler: carries out its instructions, feeds back what came of them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from comfy_instances.errors import InstanceError
from comfy_instances.fleet import Fleet, InstanceInfo, InstanceState
from orchestrator.catalog import Model
from orchestrator.errors import ServiceError
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, Shard, ShardStatus
from orchestrator.media.errors import StoreError
from orchestrator.runner import Run, Runner
from orchestrator.scheduler import (
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
    Work,
)
from orchestrator.settlement import Clock, Settlement
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: What a caller is told, by the kind of the last failure.
REASONS = {
    "bad_graph": "The model's graph was refused by the instance.",
    "out_of_memory": "The request needs more GPU memory than there is.",
    "instance_gone": "The instances that ran the request went away each time.",
    "node_failed": "A step of the model failed.",
    "no_output": "The model gave no usable output.",
    "cancelled": "The run was interrupted on its instance.",
    "store_unavailable": "The result could not be stored.",
    "abandoned": "The run was lost with its instance.",
    "internal": "The service failed to carry the request out.",
}


#: How long a restart waits for the instance of a prompt that was under way.
RECOVERY_SECONDS = 15.0

Failure = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
    """A shard that is not finished, with its attempt once that has begun."""

    job: Job
    shard: Shard
    attempt: Attempt | None = None


class Dispatcher:
    """Owns the scheduler and the tasks that run attempts."""

    def __init__(
        self, *, scheduler: Scheduler, runner: Runner, settlement: Settlement, store: Store, clock: Clock
    ) -> None:
        self.scheduler = scheduler
        self._runner = runner
        self._settlement = settlement
        self._store = store
        self._clock = clock
        self._active: dict[str, Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stopping = False

    @property
    def fleet(self) -> Fleet:
        return self._runner.fleet

    def assigned(self, instance_id: str) -> list[Active]:
        """What an instance has been given, the running shard first."""
        card = self.scheduler.cards.get(instance_id)
        shards = [assignment.work.shard_id for assignment in card.assigned] if card else []
        return [self._active[shard] for shard in shards if shard in self._active]

    async def start(self) -> None:
        """Takes up what an earlier process left: waiting shards wait on, sent ones are looked for."""
        self._unsubscribe = self.fleet.subscribe(self._instance_changed)
        for info in self.fleet.instances():
            self._instance_changed(info)
        sent = await self._store.open_attempts()
        for record in await self._store.unfinished():
            self.add(record)
        for attempt in sent:
            self._spawn(self._recover(attempt))

    async def stop(self, patience: float) -> None:
        """Begins nothing new, gives running attempts `patience` seconds, leaves the rest for next time."""
        if self._stopping:
            return
        self._stopping = True
        self._unsubscribe()
        if self._tasks:
            log.info("waiting up to %g s for %d running shard(s)", patience, len(self._tasks))
            await asyncio.wait(self._tasks, timeout=patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, record: JobRecord) -> None:
        """Schedules the waiting shards of a stored job."""
        waiting = [shard for shard in record.shards if shard.status is ShardStatus.WAITING]
        fresh = [shard for shard in waiting if shard.id not in self._active]
        try:
            model = self._runner.catalog[record.job.model]
        except ServiceError as gone:
            self._spawn(self._fail(record.job.id, JobError(code=gone.code, message=gone.message)))
            return
        self._active |= {shard.id: Active(job=record.job, shard=shard) for shard in fresh}
        self._feed(JobAdded(works=[_work(record.job, shard, model) for shard in fresh]))

    def drop(self, job_id: str) -> None:
        """The job needs nothing more: waiting shards go, running ones are cancelled."""
        self._feed(JobCancelled(job_id=job_id))
        self._active = {
            shard_id: active
            for shard_id, active in self._active.items()
            if active.attempt or active.job.id != job_id
        }

    def _instance_changed(self, info: InstanceInfo) -> None:
        match info.state:
            case InstanceState.READY:
                self._feed(InstanceUp(instance_id=info.id, vram=info.vram_total))
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
                self._spawn(self._fail(job_id, JobError(code=kind, message=REASONS[kind])))

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

        failure = await self._failure_of(self._run(active, attempt, ended))
        ended(None)
        await self._report(attempt, failure)

    async def _run(self, active: Active, attempt: Attempt, ended: Callable[[float | None], None]) -> None:
        if await self._settlement.begin(active.job.id, active.shard, attempt):
            model = self._runner.catalog[active.job.model]
            await self._runner.run(Run(attempt=attempt, shard=active.shard, model=model), ended)

    async def _recover(self, attempt: Attempt) -> None:
        """Finds out what became of a prompt that an earlier process sent: settles it or has it run again."""
        record = await self._store.get_job(attempt.shard_id.rpartition("-")[0])
        shard = (
            next((shard for shard in record.shards if shard.id == attempt.shard_id), None) if record else None
        )
        if record is None or shard is None or record.job.finished:
            await self._settlement.missed(attempt, "abandoned", "the job is finished")
            return
        self._active[shard.id] = Active(job=record.job, shard=shard, attempt=attempt)
        failure = await self._failure_of(self._look_for(record, shard, attempt))
        del self._active[shard.id]
        if failure:
            await self._settlement.missed(attempt, *failure)
            again = await self._store.get_job(record.job.id)
            if again and not self._stopping:
                self.add(again)

    async def _look_for(self, record: JobRecord, shard: Shard, attempt: Attempt) -> None:
        model = self._runner.catalog[record.job.model]
        async with asyncio.timeout(RECOVERY_SECONDS):
            await self._until_reachable(attempt.instance_id)
        if not await self._runner.resume(Run(attempt=attempt, shard=shard, model=model)):
            raise Abandoned("the instance knows nothing of it")

    async def _until_reachable(self, instance_id: str) -> None:
        changed = asyncio.Event()
        unsubscribe = self.fleet.subscribe(lambda _: changed.set())
        try:
            while not _reachable(self.fleet, instance_id):
                changed.clear()
                await changed.wait()
        finally:
            unsubscribe()

    async def _failure_of(self, run: Coroutine[Any, Any, None]) -> Failure | None:
        """None where all went well, else the kind of failure and its details for operators."""
        try:
            await run
        except InstanceError as error:
            return error.kind, str(error)
        except StoreError as error:
            return "store_unavailable", str(error)
        except (Abandoned, TimeoutError) as error:
            return "abandoned", str(error)
        except Exception as error:
            log.exception("an attempt met an unexpected error")
            return "internal", repr(error)
        return None

    async def _report(self, attempt: Attempt, failure: Failure | None) -> None:
        shard_id = attempt.shard_id
        if failure is None:
            self._feed(ShardDone(shard_id=shard_id))
        else:
            kind, detail = failure
            log.warning("shard %s failed on %s: %s: %s", shard_id, attempt.instance_id, kind, detail)
            await self._settlement.missed(attempt, kind, detail)
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
            await self.fleet.session(instance_id).free()
        except InstanceError as error:
            log.info("could not free the memory of %s: %s", instance_id, error)

    async def _fail(self, job_id: str, error: JobError) -> None:
        await self._settlement.fail(job_id, error)


class Abandoned(Exception):
    """A prompt of an earlier process can not be found."""


def _reachable(fleet: Fleet, instance_id: str) -> bool:
    """Raises Abandoned where this fleet has no such instance."""
    states = {info.id: info.state for info in fleet.instances()}
    if instance_id not in states:
        raise Abandoned(f"there is no instance {instance_id} any more")
    return states[instance_id] in (InstanceState.READY, InstanceState.DRAINING)


def _work(job: Job, shard: Shard, model: Model) -> Work:
    estimate = model.manifest.estimate_for(None)
    return Work(
        shard_id=shard.id,
        job_id=job.id,
        account_id=job.account_id,
        model=model.id,
        run_seconds=model.run_seconds(shard.params),
        load_seconds=estimate.load_seconds,
        vram=estimate.vram_bytes,
        attempts=shard.attempts,
    )
