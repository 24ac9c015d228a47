"""Runs one attempt of a shard: uploads inputs, runs the graph, stores outputs and finishes the shard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from time import time
from typing import Any

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.protocol.delivery import PREVIEWS_KEY
from comfy_instances.protocol.errors import InstanceError, InstanceGone, NodeFailed
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
from orchestrator.catalog.manifest import ModelKind
from orchestrator.execution.failures import CallerGraphFailed, RunTooLong
from orchestrator.execution.inputs.fixed_inputs import have_fixed_files
from orchestrator.execution.inputs.lora_delivery import LoraDelivery
from orchestrator.execution.inputs.uploads import InputUploader
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.instances.instance_cleaner import InstanceCleaner, Leftovers
from orchestrator.execution.instances.watchdog import Watchdog
from orchestrator.execution.job_lifecycle import JobLifecycle
from orchestrator.execution.results.direct_delivery import DirectDelivery
from orchestrator.execution.results.media_origins import origin_of
from orchestrator.execution.results.outputs import OutputStorage
from orchestrator.execution.results.preview_switch import PreviewSwitch
from orchestrator.execution.results.progress_estimator import ProgressEstimator
from orchestrator.execution.run_spans import attempt_span, describe_attempt, record_run
from orchestrator.execution.usage_meter import UsageMeter
from orchestrator.jobs import Attempt, Job, JobRecord, Shard, Usage
from orchestrator.jobs.events import EventHub, PromptFinished, ShardPreview, ShardProgress
from orchestrator.jobs.loras import TrainedLora
from orchestrator.jobs.objects import LORA_PREFIX, OUTPUT_PREFIX
from orchestrator.jobs.traces import in_trace_of
from orchestrator.media.formats import ImageEncoding
from orchestrator.own_graphs.model import OwnGraphModel
from orchestrator.tracing import span

log = logging.getLogger(__name__)

#: Prefix of output file names; the session appends the prompt id to make it unique.
OUTPUT_FILENAME_PREFIX = "pixelfactory"
#: Longest time without progress, as a multiple of the expected duration of the run.
STALL_TIMEOUT_FACTOR = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRun:
    """An attempt with its job, shard and model version."""

    attempt: Attempt
    job: Job
    shard: Shard
    model: Model


@dataclass(frozen=True, kw_only=True, slots=True)
class CompletedPrompt:
    """A prompt that its instance ran to the end; its outputs are still on the instance."""

    result: RunResult
    usage: Usage
    #: Input files to delete from the instance.
    uploaded_files: Sequence[FileRef] = ()
    #: Whether the instance has fetched input files, and keeps them until they are released.
    has_fetched_inputs: bool = False

    @property
    def needs_release(self) -> bool:
        """Whether the node pack of the instance holds something for the prompt."""
        return self.has_fetched_inputs or any(item.delivered for item in self.result.outputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """Runs attempts on instances; has no state of its own."""

    fleet: Fleet
    #: Node classes and weight files of each instance.
    capabilities: CapabilityCache
    input_uploader: InputUploader
    lora_delivery: LoraDelivery
    output_storage: OutputStorage
    #: How results leave each instance.
    delivery: DirectDelivery
    previews: PreviewSwitch
    cleaner: InstanceCleaner
    lifecycle: JobLifecycle
    events: EventHub
    #: Shortest time without progress after which a run counts as stalled, in seconds.
    stall_seconds: float

    async def run_attempt(self, run: ShardRun, on_run_ended: Callable[[float | None], None]) -> JobRecord:
        """Run the attempt from uploading its inputs to finishing its shard.

        `on_run_ended(seconds)` is called as soon as the instance has finished the prompt, so that it can be
        given the next one while the outputs are stored. Raises InstanceError, ObjectStoreUnavailable.
        """
        with attempt_span(run.attempt, run.job):
            watchdog = Watchdog(self.stall_timeout(run), limit=run.model.run_limit(run.shard.params))
            prompt = await self._upload_and_run(run, watchdog)
            on_run_ended(prompt.result.gpu_seconds)
            return await self._store_outputs_and_finish(run, prompt)

    async def _upload_and_run(self, run: ShardRun, watchdog: Watchdog) -> CompletedPrompt:
        """Upload LoRAs and input files, render the graph and run it to its end."""
        attempt = run.attempt
        session = self.fleet.session(attempt.instance_id)
        delivery = self.lora_delivery.delivered(session, attempt.instance_id, run.model, run.shard.params)
        async with delivery as params:
            return await self._upload_inputs_and_run(run, params, watchdog)

    async def _upload_inputs_and_run(
        self, run: ShardRun, params: Mapping[str, Any], watchdog: Watchdog
    ) -> CompletedPrompt:
        """Do so with parameters that name LoRAs as they are on the instance."""
        attempt = run.attempt
        session = self.fleet.session(attempt.instance_id)
        capabilities = self.capabilities.get(attempt.instance_id)
        way = await self.delivery.choose(session, attempt.instance_id, capabilities.node_facts)
        with span("inputs"):
            uploaded = await self.input_uploader.upload_inputs(
                session, run.model, params, prompt_id=attempt.prompt_id, may_fetch=way.direct
            )
        fixed = await have_fixed_files(session, run.model)
        graph = capabilities.render_graph(run.model, {**uploaded.params, **fixed}, OUTPUT_FILENAME_PREFIX)
        if way.direct and not run.model.is_own_graph:
            graph = self.delivery.adapt_graph(graph, run.model, to_image_encoding(run.job))
        meter = UsageMeter(attempt.instance_id, graph)
        listener = self._progress_listener(
            run.shard, watchdog.record_progress, meter, ProgressEstimator(graph)
        )
        previews = {PREVIEWS_KEY: self.previews.is_wanted(run.job.id)} if way.direct else {}
        running = session.run_prompt(attempt.prompt_id, graph, listener, extra_data=previews)
        try:
            with (
                meter.watch_memory(self.fleet),
                self.previews.watch(run.job.id, attempt.prompt_id, session) if way.direct else nullcontext(),
            ):
                sent_at = time()
                result = await watchdog.guard(running)
        except InstanceGone:
            raise
        except (InstanceError, RunTooLong) as error:
            self._clean_up(attempt, uploaded.files, needs_release=way.direct)
            if run.model.is_own_graph and isinstance(error, NodeFailed):
                raise CallerGraphFailed(error.message) from error
            raise
        usage = self._publish_usage(run, result, meter)
        record_run(sent_at, usage)
        return CompletedPrompt(
            result=result,
            usage=usage,
            uploaded_files=uploaded.files,
            has_fetched_inputs=uploaded.is_fetched,
        )

    def stall_timeout(self, run: ShardRun) -> float:
        """Return the longest time that the run may make no progress, in seconds."""
        profile = self.capabilities.get(run.attempt.instance_id).profile
        load = run.model.manifest.estimate_for(profile).load_seconds
        seconds = run.model.estimate_run_seconds(run.shard.params, profile) + load
        return max(self.stall_seconds, STALL_TIMEOUT_FACTOR * seconds)

    async def resume_attempt(self, run: ShardRun) -> JobRecord | None:
        """Follow a prompt that an earlier process sent, and finish its shard.

        Returns None if the instance does not know the prompt. Raises InstanceError, ObjectStoreUnavailable.
        """
        with in_trace_of(run.job), span("attempt", describe_attempt(run.attempt)):
            return await self._resume_attempt(run)

    async def _resume_attempt(self, run: ShardRun) -> JobRecord | None:
        session = self.fleet.session(run.attempt.instance_id)
        meter = UsageMeter(run.attempt.instance_id, {})
        listener = self._progress_listener(
            run.shard, lambda: None, meter, ProgressEstimator(run.model.source.template)
        )
        with self.previews.watch(run.job.id, run.attempt.prompt_id, session, is_resumed=True):
            result = await session.resume_prompt(run.attempt.prompt_id, listener)
        if result is None:
            return None
        prompt = CompletedPrompt(result=result, usage=self._publish_usage(run, result, meter))
        return await self._store_outputs_and_finish(run, prompt)

    async def cancel_attempt(self, attempt: Attempt) -> None:
        """Remove the prompt from its instance, whether it waits, runs or has ended.

        Results that are being collected are stored first, and then deleted with their job.
        Raises InstanceError.
        """
        session = self.fleet.session(attempt.instance_id)
        await session.cancel_prompt(attempt.prompt_id)
        if not session.deliveries.is_collecting(attempt.prompt_id):
            await session.deliveries.release(attempt.prompt_id)

    async def free_memory(self, instance_id: str) -> None:
        """Have an instance unload its models, if it can be reached."""
        try:
            await self.fleet.session(instance_id).free_memory()
        except InstanceError as error:
            log.info("could not free the memory of %s: %s", instance_id, error)

    def _clean_up(
        self, attempt: Attempt, files: Sequence[FileRef] = (), *, needs_release: bool = False
    ) -> None:
        self.cleaner.add(attempt.instance_id, Leftovers(attempt.prompt_id, files, needs_release))

    def _publish_usage(self, run: ShardRun, result: RunResult, meter: UsageMeter) -> Usage:
        """Return what the run used, after passing it to the observers of all jobs."""
        used = meter.finish(result, run.model, self.fleet)
        usage = replace(used, run_ended_at=self.lifecycle.now())
        instance_id = run.attempt.instance_id
        finished = PromptFinished(job=run.job, shard_id=run.shard.id, instance_id=instance_id, usage=usage)
        self.events.notify_observers(finished)
        return usage

    async def _store_outputs_and_finish(self, run: ShardRun, prompt: CompletedPrompt) -> JobRecord:
        session = self.fleet.session(run.attempt.instance_id)
        nodes = [output.node for output in run.model.outputs]
        encoding, trained = to_image_encoding(run.job), describe_training(run)
        output_files = [item.file for item in prompt.result.outputs if item.file]
        try:
            with span("store"):
                outputs = await self.output_storage.store_outputs(
                    session,
                    nodes,
                    prompt.result,
                    prompt_id=run.attempt.prompt_id,
                    instance_id=run.attempt.instance_id,
                    prefix=OUTPUT_PREFIX if trained is None else LORA_PREFIX,
                    encoding=encoding,
                    origin=origin_of(run.job, run.model),
                    own_classes=run.model.classes if isinstance(run.model, OwnGraphModel) else None,
                )
        except Exception:
            # Not so when this process stops: the next one collects the results.
            if prompt.needs_release:
                self._clean_up(run.attempt, output_files, needs_release=True)
            raise
        with span("finish"):
            record = await self.lifecycle.finish_shard(run.attempt, outputs, prompt.usage, trained)
        files = [*output_files, *prompt.uploaded_files]
        self._clean_up(run.attempt, files, needs_release=prompt.needs_release)
        return record

    def _progress_listener(
        self, shard: Shard, on_progress: Callable[[], None], meter: UsageMeter, estimator: ProgressEstimator
    ) -> ProgressListener:
        def on_event(event: ProgressEvent) -> None:
            on_progress()
            meter.record_event(event)
            job_event = _to_job_event(shard.index, event, estimator)
            if job_event:
                self.events.publish(shard.job_id, job_event)

        return on_event


def _to_job_event(
    index: int, event: ProgressEvent, estimator: ProgressEstimator
) -> ShardProgress | ShardPreview | None:
    """Return the event for the job's subscribers, or None if they do not get this one."""
    match event:
        case NodeStarted(node=node):
            fraction = estimator.start_node(node)
            return ShardProgress(
                index=index,
                node_id=node,
                value=0,
                maximum=1,
                fraction=fraction,
                nodes_done=estimator.nodes_done,
            )
        case StepProgress(node=node, value=value, max=maximum):
            fraction = estimator.update_node(node, value, maximum)
            return ShardProgress(
                index=index,
                node_id=node,
                value=value,
                maximum=maximum,
                fraction=fraction,
                nodes_done=estimator.nodes_done,
            )
        case Preview(node=node, content_type=content_type, data=data):
            return ShardPreview(index=index, content_type=content_type, data=data, node_id=node)
        case NodeText():
            return None


def describe_training(run: ShardRun) -> TrainedLora | None:
    """Return what a training job says about its LoRA; None for other models."""
    if run.model.kind is not ModelKind.TRAINER:
        return None
    params = run.shard.params
    return TrainedLora(
        name=params.get("lora_name") or "",
        base=run.model.lora_base,
        trigger_word=params.get("trigger_word") or "",
    )


def to_image_encoding(job: Job) -> ImageEncoding | None:
    """Return how the job's images are stored; None keeps them unchanged."""
    return ImageEncoding(job.output_type, job.output_quality) if job.output_type else None
