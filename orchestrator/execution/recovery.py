"""Recovers the attempts that an earlier process of the service left running."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from comfy_instances.fleet.protocol import Fleet, InstanceState
from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import InstanceError
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.failures import AttemptAbandoned, run_and_classify
from orchestrator.execution.job_lifecycle import JobLifecycle
from orchestrator.execution.runner import Runner, ShardRun
from orchestrator.jobs import Attempt, FailureKind, JobRecord, Shard
from orchestrator.own_graphs.model import model_of_job
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: How long an attempt's instance may take to become reachable after a restart.
RECOVERY_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRecovery:
    """Resumes attempts that their instance still knows, and fails the others."""

    live_catalog: LiveCatalog
    runner: Runner
    store: Store
    lifecycle: JobLifecycle

    async def recover_attempt(self, attempt: Attempt) -> JobRecord | None:
        """Return the job whose shard must be run again; None if nothing is left to do."""
        record = await self.store.find_job(attempt.job_id)
        shards = {shard.id: shard for shard in record.shards} if record else {}
        if record is None or record.job.is_finished or attempt.shard_id not in shards:
            await self._cancel_prompt(attempt)
            await self.lifecycle.fail_attempt(attempt, FailureKind.ABANDONED, "the job is finished")
            return None
        failure = await run_and_classify(self._resume_attempt(record, shards[attempt.shard_id], attempt))
        if failure is None:
            return None
        await self.lifecycle.fail_attempt(attempt, failure.kind, failure.detail, has_run=failure.has_run)
        return await self.store.find_job(record.job.id)

    async def _cancel_prompt(self, attempt: Attempt) -> None:
        """Keep an instance from running a prompt that is not needed, if the instance is reachable."""
        try:
            async with asyncio.timeout(RECOVERY_TIMEOUT_SECONDS):
                await _wait_until_reachable(self.runner.fleet, attempt.instance_id)
                await self.runner.cancel_attempt(attempt)
        except (AttemptAbandoned, InstanceError, TimeoutError) as error:
            log.info("could not cancel attempt %s: %s", attempt.prompt_id, error_text(error))

    async def _resume_attempt(self, record: JobRecord, shard: Shard, attempt: Attempt) -> None:
        model = model_of_job(self.live_catalog, record.job)
        async with asyncio.timeout(RECOVERY_TIMEOUT_SECONDS):
            await _wait_until_reachable(self.runner.fleet, attempt.instance_id)
        latest = await self.store.find_job(record.job.id)
        if latest is None or latest.job.is_finished:
            # Cancelled while the instance could not be asked.
            await self._cancel_prompt(attempt)
            raise AttemptAbandoned("the job is finished")
        if not await self.runner.resume_attempt(
            ShardRun(attempt=attempt, job=record.job, shard=shard, model=model)
        ):
            raise AttemptAbandoned("the instance does not know the prompt")


async def _wait_until_reachable(fleet: Fleet, instance_id: str) -> None:
    """Wait until the instance is ready or draining. Raises AttemptAbandoned if the fleet does not have it."""
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    try:
        while True:
            changed.clear()
            states = {info.id: info.state for info in fleet.instances()}
            if instance_id not in states:
                raise AttemptAbandoned(f"the fleet no longer has an instance {instance_id}")
            if states[instance_id] in (InstanceState.READY, InstanceState.DRAINING):
                return
            await changed.wait()
    finally:
        unsubscribe()
