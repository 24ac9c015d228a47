"""Looks regularly for jobs, holds, attempts and prompts that do not belong together, and mends them.

What is under way looks wrong for a moment, because store, memory and instances are not read at the same time.
A finding is therefore mended only if two looks in a row have it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.tasks import keep_running, report_error, spawn
from orchestrator.errors import ServiceUnavailable
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.job_lifecycle import Clock, JobLifecycle
from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.jobs import Attempt, JobRecord, ShardStatus
from orchestrator.jobs.events import EventHub, StateMended
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: How long an instance may take to send its queue, in seconds.
QUEUE_TIMEOUT_SECONDS = 10.0
REACHABLE_STATES = (InstanceState.READY, InstanceState.DRAINING)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not belong together."""

    #: What is wrong; the label of the metric.
    kind: str
    #: Id of the job, shard, attempt or prompt.
    subject: str
    mend: Callable[[], Awaitable[object]] = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciler:
    """Compares the store with the tasks of this process and with the queues of the instances."""

    store: Store
    dispatcher: Dispatcher
    lifecycle: JobLifecycle
    responses: ResponseTracker
    events: EventHub
    clock: Clock
    #: Seconds between two looks.
    interval: float
    _suspected: set[Finding] = field(default_factory=set, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Start to look at regular intervals."""
        spawn(keep_running(self._run, "reconciler"), "reconciler", group=self._tasks)

    async def stop(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while not self.dispatcher.is_stopping:
            await asyncio.sleep(self.interval)
            try:
                await self.look()
            except ServiceUnavailable as error:
                log.warning("jobs and money could not be compared: %s", error)

    async def look(self) -> list[Finding]:
        """Mend what was found by the last look too; return it. Raises ServiceUnavailable."""
        found = [finding async for finding in self._find()]
        confirmed = [finding for finding in found if finding in self._suspected]
        self._suspected.clear()
        self._suspected.update(finding for finding in found if finding not in confirmed)
        return [finding for finding in confirmed if await self._mend(finding)]

    async def _mend(self, finding: Finding) -> bool:
        """Mend a finding; False if that failed, which the next looks try again."""
        try:
            await finding.mend()
        except (InstanceError, ServiceUnavailable) as error:
            # Its instance or the database is being restarted, for example.
            self._suspected.add(finding)
            log.info("could not mend %s of %s yet: %s", finding.kind, finding.subject, error)
            return False
        except Exception as error:
            self._suspected.add(finding)
            report_error(error, f"mending: {finding.kind} {finding.subject}")
            return False
        log.warning(
            "mended %s of %s",
            finding.kind,
            finding.subject,
            extra={"action": "mended", "kind": finding.kind, "subject": finding.subject},
        )
        self.events.notify_observers(StateMended(kind=finding.kind, subject=finding.subject))
        return True

    async def _find(self) -> AsyncIterator[Finding]:
        unfinished = await self.store.list_unfinished_jobs()
        for defect, job_id in await self.store.list_defects():
            yield Finding(defect, job_id, partial(self.lifecycle.mend_job, job_id))
        for record in unfinished:
            if (finding := self._check_job(record)) is not None:
                yield finding
        for attempt in await self.store.list_open_attempts():
            if attempt.prompt_id not in self.dispatcher.running_attempts:
                yield Finding("open_attempt", attempt.prompt_id, partial(self._recover, attempt))
        for shard_id, instance_id in self.dispatcher.running_attempts.list_lost_assignments(
            self.dispatcher.scheduler
        ):
            mend = partial(self._forget_assignment, shard_id, instance_id)
            yield Finding("lost_assignment", shard_id, mend)
        async for finding in self._find_ended({record.job.id for record in unfinished}):
            yield finding
        before = self.clock() - self.responses.retry_window
        for record in await self.store.list_unsent_results(before):
            if not self.responses.is_live(record.job.id):
                refund = partial(self.store.refund_unsent_result, record.job.id, self.clock())
                yield Finding("unsent_result", record.job.id, refund)
        for prompt_id, instance_id in await self._list_orphan_prompts():
            yield Finding("orphan_prompt", prompt_id, partial(self._cancel_prompt, prompt_id, instance_id))

    def _check_job(self, record: JobRecord) -> Finding | None:
        """Check whether an unfinished job has somebody to wait for it, and a place in the scheduler."""
        job_id = record.job.id
        if self.responses.is_unattended(record.job):
            return Finding("unattended_job", job_id, partial(self._abandon, job_id))
        scheduler = self.dispatcher.scheduler
        waiting = [shard.id for shard in record.shards if shard.status is ShardStatus.WAITING]
        if all(scheduler.has_shard(shard_id) for shard_id in waiting):
            return None
        return Finding("unscheduled_job", job_id, partial(self._schedule, job_id))

    async def _find_ended(self, unfinished: set[str]) -> AsyncIterator[Finding]:
        """Find jobs that this process works on or waits for although they are finished in the store."""
        scheduler = self.dispatcher.scheduler
        active = self.dispatcher.unfinished_shards()
        known = {shard.job.id for shard in active if scheduler.has_shard(shard.shard.id)}
        for job_id in (known | self.events.subscribed_job_ids()) - unfinished:
            record = await self.store.find_job(job_id)
            if record is not None and record.job.is_finished:
                yield Finding("unheard_end", job_id, partial(self._announce, record))

    async def _list_orphan_prompts(self) -> list[tuple[str, str]]:
        """Return (prompt id, instance id) of prompts in the instances' queues whose attempt or job has ended.

        Prompts that the store does not know belong to other users of the instance.
        """
        queued: dict[str, str] = {}
        for info in self.dispatcher.fleet.instances():
            if info.state in REACHABLE_STATES:
                queued |= dict.fromkeys(await self._list_prompts(info.id), info.id)
        attempts = await self.store.find_attempts(list(queued)) if queued else []
        return [(one.prompt_id, queued[one.prompt_id]) for one in attempts if await self._is_over(one)]

    async def _is_over(self, attempt: Attempt) -> bool:
        if attempt.ended_at is not None:
            return True
        record = await self.store.find_job(attempt.job_id)
        return record is None or record.job.is_finished

    async def _list_prompts(self, instance_id: str) -> list[str]:
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_SECONDS):
                queue = await self.dispatcher.fleet.session(instance_id).get_queue()
        except (InstanceError, TimeoutError) as error:
            log.info("could not read the queue of %s: %s", instance_id, error_text(error))
            return []
        return [entry.prompt_id for entry in (*queue.running, *queue.pending)]

    async def _abandon(self, job_id: str) -> None:
        self.dispatcher.cancel_job(job_id)
        await self.lifecycle.abandon_job(job_id)

    async def _schedule(self, job_id: str) -> None:
        record = await self.store.find_job(job_id)
        if record is None or record.job.is_finished:
            return
        for shard in record.shards:
            if not self.dispatcher.scheduler.has_shard(shard.id):
                self.dispatcher.forget_shard(shard.id)
        await self.dispatcher.schedule_stored_job(record)

    async def _recover(self, attempt: Attempt) -> None:
        self.dispatcher.recover_attempt(attempt)

    async def _forget_assignment(self, shard_id: str, instance_id: str) -> None:
        self.dispatcher.forget_assignment(shard_id, instance_id)

    async def _cancel_prompt(self, prompt_id: str, instance_id: str) -> None:
        await self.dispatcher.fleet.session(instance_id).cancel_prompt(prompt_id)

    async def _announce(self, record: JobRecord) -> None:
        self.dispatcher.cancel_job(record.job.id)
        self.lifecycle.announce(record)
