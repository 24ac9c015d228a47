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
from orchestrator.execution.capabilities import CapabilityCache
from orchestrator.execution.job_lifecycle import JobLifecycle
from orchestrator.execution.outputs import OutputStorage
from orchestrator.execution.progress_estimator import ProgressEstimator
from orchestrator.execution.uploads import InputUploader
from orchestrator.execution.usage_meter import UsageMeter
from orchestrator.execution.watchdog import Watchdog
from orchestrator.jobs import Attempt, Job, JobRecord, Shard, Usage
from orchestrator.jobs.events import EventHub, PromptFinished, ShardPreview, ShardProgress
from orchestrator.media.formats import ImageEncoding

log = logging.getLogger(__name__)

#: The session makes it unique by appending the prompt id.
OUTPUT_FILENAME_PREFIX = "pixelfactory"
#: How many times its expected duration a run may be silent.
STALL_TIMEOUT_FACTOR = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRun:
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
    capabilities: CapabilityCache
    input_uploader: InputUploader
    output_storage: OutputStorage
    lifecycle: JobLifecycle
    events: EventHub
    #: Least time after which a run without progress is given up.
    stall_seconds: float

    async def run_attempt(self, run: ShardRun, on_run_ended: Callable[[float | None], None]) -> JobRecord:
        """The whole walk. `ended(seconds)` is called once the instance has done with the prompt, so that
        it gets the next one while this one's outputs are stored. Raises InstanceError,
        ObjectStoreUnavailable."""
        attempt, shard = run.attempt, run.shard
        session = self.fleet.session(attempt.instance_id)
        uploaded = await self.input_uploader.upload_inputs(session, run.model, shard.params)
        kit = self.capabilities.get(attempt.instance_id)
        graph = kit.render_graph(run.model, uploaded.params, OUTPUT_FILENAME_PREFIX)
        watchdog, meter = Watchdog(self.stall_timeout(run)), UsageMeter(attempt.instance_id, graph)
        listener = self._progress_listener(shard, watchdog.record_progress, meter, ProgressEstimator(graph))
        try:
            with meter.watch_memory(self.fleet):
                result = await watchdog.guard(session.run_prompt(attempt.prompt_id, graph, listener))
        except InstanceGone:
            raise
        except InstanceError:
            await self.clean_up(attempt, uploaded.files)
            raise
        usage = self._publish_usage(run, result, meter)
        on_run_ended(result.gpu_seconds)
        return await self._store_outputs_and_finish(run, result, usage, uploaded.files)

    def stall_timeout(self, run: ShardRun) -> float:
        """Seconds that a run may go without a sign of progress: many times what its model needs in all."""
        profile = self.capabilities.get(run.attempt.instance_id).profile
        load = run.model.manifest.estimate_for(profile).load_seconds
        seconds = run.model.estimate_run_seconds(run.shard.params, profile) + load
        return max(self.stall_seconds, STALL_TIMEOUT_FACTOR * seconds)

    async def resume_attempt(self, run: ShardRun) -> JobRecord | None:
        """Follows to its end what was sent before a crash; None where the instance knows nothing of it.
        Raises as `run` does."""
        session = self.fleet.session(run.attempt.instance_id)
        meter = UsageMeter(run.attempt.instance_id, {})
        listener = self._progress_listener(
            run.shard, lambda: None, meter, ProgressEstimator(run.model.source.template)
        )
        result = await session.resume_prompt(run.attempt.prompt_id, listener)
        if result is None:
            return None
        return await self._store_outputs_and_finish(run, result, self._publish_usage(run, result, meter), [])

    async def cancel_attempt(self, attempt: Attempt) -> None:
        """Takes the prompt off its instance, waiting or running. Raises InstanceError."""
        await self.fleet.session(attempt.instance_id).cancel_prompt(attempt.prompt_id)

    async def clean_up(self, attempt: Attempt, files: Sequence[FileRef] = ()) -> None:
        """Makes the instance forget the prompt, so that its history and folders do not grow."""
        try:
            await self.fleet.session(attempt.instance_id).delete_history(attempt.prompt_id)
            await self.fleet.delete_files(attempt.instance_id, files)
        except InstanceError as error:
            log.info("could not tidy up on %s: %s", attempt.instance_id, error)

    def _publish_usage(self, run: ShardRun, result: RunResult, meter: UsageMeter) -> Usage:
        """What the run has used, told to those who watch over all work before the next one begins."""
        usage = meter.finish(result, run.model, self.fleet)
        instance_id = run.attempt.instance_id
        ran = PromptFinished(job=run.job, shard_id=run.shard.id, instance_id=instance_id, usage=usage)
        self.events.notify_observers(ran)
        return usage

    async def _store_outputs_and_finish(
        self, run: ShardRun, result: RunResult, usage: Usage, uploaded_files: Sequence[FileRef]
    ) -> JobRecord:
        session = self.fleet.session(run.attempt.instance_id)
        nodes = [output.node for output in run.model.outputs]
        outputs = await self.output_storage.store_outputs(session, nodes, result, to_image_encoding(run.job))
        record = await self.lifecycle.finish_shard(run.attempt, outputs, usage)
        made = [item.file for item in result.outputs if item.file]
        await self.clean_up(run.attempt, [*made, *uploaded_files])
        return record

    def _progress_listener(
        self, shard: Shard, on_progress: Callable[[], None], meter: UsageMeter, estimator: ProgressEstimator
    ) -> ProgressListener:
        def on_event(event: ProgressEvent) -> None:
            on_progress()
            meter.record_event(event)
            told = _to_job_event(shard.index, event, estimator)
            if told:
                self.events.publish(shard.job_id, told)

        return on_event


def _to_job_event(
    index: int, event: ProgressEvent, estimator: ProgressEstimator
) -> ShardProgress | ShardPreview | None:
    """What the readers of a job hear of an instance's word about its shard `index`."""
    match event:
        case NodeStarted(node=node):
            done = estimator.start_node(node)
            return ShardProgress(index=index, node_id=node, value=0, maximum=1, fraction=done)
        case StepProgress(node=node, value=value, max=maximum):
            done = estimator.update_node(node, value, maximum)
            return ShardProgress(index=index, node_id=node, value=value, maximum=maximum, fraction=done)
        case Preview(content_type=content_type, data=data):
            return ShardPreview(index=index, content_type=content_type, data=data)
        case NodeText():
            return None


def to_image_encoding(job: Job) -> ImageEncoding | None:
    """What the job's pictures are stored as; None: as they come."""
    return ImageEncoding(job.output_type, job.output_quality) if job.output_type else None
