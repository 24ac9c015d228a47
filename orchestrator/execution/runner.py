"""One attempt of a shard on one instance: inputs up, graph rendered and run, outputs stored, settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.protocol.errors import InstanceError, InstanceGone
from comfy_instances.session.session import (
    FileRef,
    NodeStarted,
    NodeText,
    Preview,
    ProgressEvent,
    ProgressListener,
    RunResult,
    StepProgress,
)
from orchestrator.catalog import Model
from orchestrator.execution.capabilities import Kits
from orchestrator.execution.job_lifecycle import Settlement
from orchestrator.execution.outputs import Outputs
from orchestrator.execution.progress_estimator import Gauge
from orchestrator.execution.uploads import Uploads
from orchestrator.execution.usage_meter import Meter
from orchestrator.execution.watchdog import Watchdog
from orchestrator.jobs import Attempt, Job, JobRecord, Shard, Usage
from orchestrator.jobs.events import EventHub, ShardPreview, ShardProgress, ShardRan
from orchestrator.media.formats import ImageEncoding

log = logging.getLogger(__name__)

#: The session makes it unique by appending the prompt id.
FILENAME_PREFIX = "pixelfactory"
#: How many times its expected duration a run may be silent.
PATIENCE_FACTOR = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """An attempt and all that is known of what it runs."""

    attempt: Attempt
    job: Job
    shard: Shard
    model: Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """Carries attempts through; holds no state of its own."""

    fleet: Fleet
    #: What each instance has to run models with.
    kits: Kits
    uploads: Uploads
    outputs: Outputs
    settlement: Settlement
    events: EventHub
    #: Least time after which a run without progress is given up.
    stall_seconds: float

    async def run(self, run: Run, ended: Callable[[float | None], None]) -> JobRecord:
        """The whole walk. `ended(seconds)` is called once the instance has done with the prompt, so that
        it gets the next one while this one's outputs are stored. Raises InstanceError,
        ObjectStoreUnavailable."""
        attempt, shard = run.attempt, run.shard
        session = self.fleet.session(attempt.instance_id)
        uploaded = await self.uploads.bring(session, run.model, shard.params)
        kit = self.kits.of(attempt.instance_id)
        graph = kit.graph(run.model, uploaded.params, FILENAME_PREFIX)
        watchdog, meter = Watchdog(self.patience(run)), Meter(attempt.instance_id, graph)
        listener = self._listener(shard, watchdog.heard, meter, Gauge(graph))
        try:
            with meter.watching(self.fleet):
                result = await watchdog.guard(session.run_prompt(attempt.prompt_id, graph, listener))
        except InstanceGone:
            raise
        except InstanceError:
            await self.tidy(attempt, uploaded.files)
            raise
        usage = self._used(run, result, meter)
        ended(result.gpu_seconds)
        return await self._settle(run, result, usage, uploaded.files)

    def patience(self, run: Run) -> float:
        """Seconds that a run may go without a sign of progress: many times what its model needs in all."""
        profile = self.kits.of(run.attempt.instance_id).profile
        load = run.model.manifest.estimate_for(profile).load_seconds
        seconds = run.model.estimate_run_seconds(run.shard.params, profile) + load
        return max(self.stall_seconds, PATIENCE_FACTOR * seconds)

    async def resume(self, run: Run) -> JobRecord | None:
        """Follows to its end what was sent before a crash; None where the instance knows nothing of it.
        Raises as `run` does."""
        session = self.fleet.session(run.attempt.instance_id)
        meter = Meter(run.attempt.instance_id, {})
        listener = self._listener(run.shard, lambda: None, meter, Gauge(run.model.source.template))
        result = await session.resume_prompt(run.attempt.prompt_id, listener)
        if result is None:
            return None
        return await self._settle(run, result, self._used(run, result, meter), [])

    async def cancel(self, attempt: Attempt) -> None:
        """Takes the prompt off its instance, waiting or running. Raises InstanceError."""
        await self.fleet.session(attempt.instance_id).cancel_prompt(attempt.prompt_id)

    async def tidy(self, attempt: Attempt, files: Sequence[FileRef] = ()) -> None:
        """Makes the instance forget the prompt, so that its history and folders do not grow."""
        try:
            await self.fleet.session(attempt.instance_id).delete_history(attempt.prompt_id)
            await self.fleet.delete_files(attempt.instance_id, files)
        except InstanceError as error:
            log.info("could not tidy up on %s: %s", attempt.instance_id, error)

    def _used(self, run: Run, result: RunResult, meter: Meter) -> Usage:
        """What the run has used, told to those who watch over all work before the next one begins."""
        usage = meter.usage(result, run.model, self.fleet)
        instance_id = run.attempt.instance_id
        ran = ShardRan(job=run.job, shard_id=run.shard.id, instance_id=instance_id, usage=usage)
        self.events.tell(ran)
        return usage

    async def _settle(
        self, run: Run, result: RunResult, usage: Usage, uploaded: Sequence[FileRef]
    ) -> JobRecord:
        session = self.fleet.session(run.attempt.instance_id)
        nodes = [output.node for output in run.model.outputs]
        outputs = await self.outputs.keep(session, nodes, result, encoding_of(run.job))
        record = await self.settlement.finish(run.attempt, outputs, usage)
        made = [item.file for item in result.outputs if item.file]
        await self.tidy(run.attempt, [*made, *uploaded])
        return record

    def _listener(
        self, shard: Shard, heard: Callable[[], None], meter: Meter, gauge: Gauge
    ) -> ProgressListener:
        def hear(event: ProgressEvent) -> None:
            heard()
            meter.hear(event)
            told = _told(shard.index, event, gauge)
            if told:
                self.events.publish(shard.job_id, told)

        return hear


def _told(index: int, event: ProgressEvent, gauge: Gauge) -> ShardProgress | ShardPreview | None:
    """What the readers of a job hear of an instance's word about its shard `index`."""
    match event:
        case NodeStarted(node=node):
            done = gauge.begins(node)
            return ShardProgress(index=index, node=node, value=0, maximum=1, fraction=done)
        case StepProgress(node=node, value=value, max=maximum):
            done = gauge.steps(node, value, maximum)
            return ShardProgress(index=index, node=node, value=value, maximum=maximum, fraction=done)
        case Preview(content_type=content_type, data=data):
            return ShardPreview(index=index, content_type=content_type, data=data)
        case NodeText():
            return None


def encoding_of(job: Job) -> ImageEncoding | None:
    """What the job's pictures are stored as; None: as they come."""
    return ImageEncoding(job.output_type, job.output_quality) if job.output_type else None
