"""Loads models ahead of requests: at the start, after idle time, and when an operator asks for it.

A warm run is the model's own graph, as small as the model makes it, run on an idle instance under a prompt id
that belongs to no job: nothing is stored, metered or charged. It has the lowest priority: as soon as the
scheduler gives the instance a shard, the warm run is interrupted. A shard for the same model waits for the
load, which it would have to wait for anyway.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from time import monotonic
from typing import Any, Literal, Protocol

from PIL import Image

from comfy_instances.fleet.protocol import Fleet, InstanceInfo
from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import FileRef, InstanceSession
from comfy_instances.tasks import keep_running, spawn
from orchestrator.catalog import Model, ModelKind
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.parameters.example_values import (
    EXAMPLE_DATASET_FOLDER,
    EXAMPLE_IMAGE,
    EXAMPLE_VIDEO,
)
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.execution.inputs.fixed_inputs import have_fixed_files
from orchestrator.execution.inputs.read_ahead import ReadAhead
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.instances.warm_choice import Demand, choose_warm_run
from orchestrator.execution.scheduler import ModelWarming, Scheduler, ShardSpec
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.jobs import JobStatus
from orchestrator.jobs.events import EventHub, ExecutionEvent, JobChanged, ModelWarmed, WeightsRead

log = logging.getLogger(__name__)

#: Interval at which idle instances are looked for, and at which a warm run makes room, in seconds.
TICK_SECONDS, YIELD_SECONDS = 0.5, 0.05
#: How long a warm run that failed is not tried again on its instance.
FAILURE_PAUSE_SECONDS = 900.0
#: Sides of the image that models with input images get.
INPUT_SIDE = 512
FILENAME_PREFIX = "pixelfactory-warm"


class WarmDispatcher(Protocol):
    """The part of the dispatcher that warming needs."""

    scheduler: Scheduler

    @property
    def fleet(self) -> Fleet: ...

    @property
    def is_stopping(self) -> bool: ...

    def report_warming(self, event: ModelWarming) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmPolicy:
    """When instances load models by themselves."""

    instances: Literal["off", "gpu", "all"]
    idle_seconds: float


class ModelWarmer:
    """Owns the warm runs."""

    def __init__(
        self,
        *,
        dispatcher: WarmDispatcher,
        live_catalog: LiveCatalog,
        capabilities: CapabilityCache,
        events: EventHub,
        read_ahead: ReadAhead,
        policy: WarmPolicy,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._dispatcher = dispatcher
        self._live_catalog = live_catalog
        self._capabilities = capabilities
        self._events = events
        self._read_ahead = read_ahead
        self._policy = policy
        self._clock = clock
        self.demand = Demand()
        self._idle_since: dict[str, float] = {}
        self._failed_at: dict[tuple[str, str], float] = {}
        self._read_shards: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        events.add_observer(self._on_event)

    def start(self, history: Iterable[tuple[str, float]]) -> None:
        """Start to look for idle instances. `history` has models of earlier jobs and their age."""
        for model, age in history:
            self.demand.record(model, self._clock() - age)
        self._loop = spawn(keep_running(self._look, "warming"), "warming")

    async def stop(self) -> None:
        """Interrupt the warm runs."""
        self._read_ahead.stop()
        tasks = [*self._tasks, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def warm(self, name: str, instance_id: str | None = None) -> list[str]:
        """Start to load a model on an instance, or on all idle ones that can run it; returns their ids.

        Raises NotFound for an unknown model or instance, Conflict if none is idle and able.
        """
        if name not in self._live_catalog.catalog:
            raise NotFound(f"there is no model {name!r}; `pixelfactory models list` names them")
        model = self._live_catalog.catalog[name]
        instances = self._dispatcher.scheduler.instances
        if instance_id is not None and instance_id not in instances:
            raise NotFound(f"there is no instance {instance_id!r}; `pixelfactory instances list` names them")
        chosen = [instances[instance_id]] if instance_id else [*instances.values()]
        able = [one for one in chosen if one.is_up and one.serves(model.digest)]
        idle = [one for one in able if not one.assignments and not one.warming]
        if (reason := _find_obstacle(model)) or not idle:
            reason = reason or ("all are busy" if able else "none is up and has what the model needs")
            raise Conflict(f"{model.id} cannot be loaded ahead now: {reason}")
        for one in idle:
            self._spawn_run(model, one.id)
        return [one.id for one in idle]

    async def _look(self) -> None:
        while not self._dispatcher.is_stopping:
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock()
            self._note_activity(now)
            self._read_cold_loads()
            if self._policy.instances != "off" and not self._dispatcher.scheduler.queue:
                self._start_next(now)

    def _note_activity(self, now: float) -> None:
        for instance in self._dispatcher.scheduler.instances.values():
            if instance.assignments or instance.warming or not instance.is_up:
                # After its start, an instance need not wait.
                self._idle_since[instance.id] = now if instance.is_up else float("-inf")
            else:
                self._idle_since.setdefault(instance.id, float("-inf"))

    def _start_next(self, now: float) -> None:
        choice = choose_warm_run(
            self._dispatcher.scheduler.instances.values(), self.demand.by_model(now), self._may_warm
        )
        if choice is not None:
            self._spawn_run(self._live_catalog.catalog[choice.model], choice.instance_id)

    def _may_warm(self, instance: Instance, name: str) -> bool:
        """Whether an idle instance may load a model by itself."""
        now = self._clock()
        info = self._find_info(instance.id)
        catalog = self._live_catalog.catalog
        if info is None or not self._is_allowed(info) or name not in catalog:
            return False
        model = catalog[name]
        is_rested = now - self._idle_since.get(instance.id, now) >= self._policy.idle_seconds
        has_failed = now - self._failed_at.get((instance.id, name), float("-inf")) < FAILURE_PAUSE_SECONDS
        fits = instance.has_memory_for(_warm_spec(model))
        able = instance.serves(model.digest) and _find_obstacle(model) is None
        return is_rested and not has_failed and fits and able

    def _is_allowed(self, info: InstanceInfo) -> bool:
        if self._policy.instances == "all":
            return True
        return not info.simulated and not info.adopted and info.device != "cpu"

    def _find_info(self, instance_id: str) -> InstanceInfo | None:
        return next((one for one in self._dispatcher.fleet.instances() if one.id == instance_id), None)

    def _read_cold_loads(self) -> None:
        """Read the files of shards that load their model, once for each."""
        assigned = {
            assignment.spec.shard_id: (assignment, instance.id)
            for instance in self._dispatcher.scheduler.instances.values()
            for assignment in instance.assignments
        }
        catalog = self._live_catalog.catalog
        for shard_id, (assignment, instance_id) in assigned.items():
            if shard_id not in self._read_shards and assignment.load_seconds > 0:
                name = assignment.spec.model
                if name in catalog:
                    spawn(self._read_files(catalog[name], instance_id), "read-ahead", name, group=self._tasks)
        self._read_shards = set(assigned)

    async def _read_files(self, model: Model, instance_id: str) -> None:
        info = self._find_info(instance_id)
        if info is None or info.adopted or info.simulated:
            return
        capabilities = self._capabilities.get(instance_id)
        weights = model.select_weights(capabilities.preferred_dtypes, capabilities.files)
        count = await self._read_ahead.read([weight.path for weight in weights])
        if count:
            self._events.notify_observers(WeightsRead(model=model.id, bytes=count))

    def _spawn_run(self, model: Model, instance_id: str) -> None:
        self._report(model, instance_id, "started")
        spawn(self._run(model, instance_id), "warm run", model.id, group=self._tasks)

    async def _run(self, model: Model, instance_id: str) -> None:
        """Run the model on an instance until it is loaded, or until the instance gets work."""
        started, result = self._clock(), "failed"
        try:
            reading = spawn(self._read_files(model, instance_id), "read-ahead", model.id, group=self._tasks)
            session = self._dispatcher.fleet.session(instance_id)
            result = await self._run_until_work(model, instance_id, session)
            reading.cancel()
        except (InstanceError, InvalidRequest, OSError) as error:
            log.info("could not load %s on %s ahead of requests: %s", model.id, instance_id, error)
        finally:
            if result == "failed":
                self._failed_at[instance_id, model.id] = self._clock()
            self._report(model, instance_id, "loaded" if result == "loaded" else "ended")
            seconds = self._clock() - started
            self._events.notify_observers(ModelWarmed(model=model.id, result=result, seconds=seconds))

    async def _run_until_work(self, model: Model, instance_id: str, session: InstanceSession) -> str:
        params, files = await _have_inputs(session, smallest_params(model))
        params |= await have_fixed_files(session, model)
        graph = self._capabilities.get(instance_id).render_graph(model, params, FILENAME_PREFIX)
        prompt_id = str(uuid.uuid4())
        instance = self._dispatcher.scheduler.instances[instance_id]
        run = spawn(session.run_prompt(prompt_id, graph), "warm prompt", prompt_id, awaited=True)
        try:
            while not run.done() and not instance.assignments and instance.is_up:
                await asyncio.wait({run}, timeout=YIELD_SECONDS)
            if not run.done():
                await session.cancel_prompt(prompt_id)
                await asyncio.wait({run})
                return "interrupted"
            outputs = [item.file for item in run.result().outputs if item.file]
            files = [*files, *outputs]
            return "loaded"
        finally:
            if not run.done():
                run.cancel()
                await asyncio.shield(session.cancel_prompt(prompt_id))
            elif not run.cancelled():
                run.exception()  # marks it as seen
            await session.delete_history([prompt_id])
            await self._dispatcher.fleet.delete_files(instance_id, files)

    def _report(self, model: Model, instance_id: str, phase: Literal["started", "loaded", "ended"]) -> None:
        event = ModelWarming(instance_id=instance_id, spec=_warm_spec(model), phase=phase)
        self._dispatcher.report_warming(event)

    def _on_event(self, event: ExecutionEvent) -> None:
        """Count a request when its job is queued."""
        if isinstance(event, JobChanged) and event.record.job.status is JobStatus.QUEUED:
            self.demand.record(event.record.job.model, self._clock())


def smallest_params(model: Model) -> dict[str, Any]:
    """Return the parameters of the shortest run that loads everything that the model loads."""
    wanted = {"width": 256, "height": 256, "num_frames": 1, "steps": 1}
    values = {
        name: _round_up(max(least, spec.minimum), spec)
        for name, least in wanted.items()
        if isinstance(spec := model.parameters.get(name), IntegerParameter)
    }
    try:
        return model.example_params(**values)
    except InvalidRequest:
        return model.example_params()


def _round_up(value: int, spec: IntegerParameter) -> int:
    grid = spec.grid or spec.step or 1
    offset = spec.grid_offset or 0
    return -(-(value - offset) // grid) * grid + offset


async def _have_inputs(
    session: InstanceSession, params: dict[str, Any]
) -> tuple[dict[str, Any], list[FileRef]]:
    """Upload an image for the parameters that need one; returns parameters and files to delete."""
    if EXAMPLE_IMAGE not in str(params):
        return params, []
    data = BytesIO()
    Image.new("RGB", (INPUT_SIDE, INPUT_SIDE), (127, 127, 127)).save(data, "PNG")
    name = await session.upload_input(f"{FILENAME_PREFIX}-{uuid.uuid4()}.png", data.getvalue(), "image/png")
    replaced = {key: _replace_image(value, name) for key, value in params.items()}
    return replaced, [FileRef(filename=name, subfolder="", type="input")]


def _replace_image(value: Any, name: str) -> Any:
    if isinstance(value, list | tuple):
        return [_replace_image(one, name) for one in value]
    return name if value == EXAMPLE_IMAGE else value


def _find_obstacle(model: Model) -> str | None:
    """Return why a model cannot be loaded ahead at all; None if it can."""
    if model.kind is ModelKind.TRAINER:
        return "a model that trains loads its weights in each run"
    text = str(model.example_params())
    if EXAMPLE_VIDEO in text or EXAMPLE_DATASET_FOLDER in text:
        return "it needs a video or a dataset"
    return None


def _warm_spec(model: Model) -> ShardSpec:
    """Return what the scheduler keeps of a loaded model."""
    estimate = model.manifest.estimate_for(None)
    return ShardSpec(
        shard_id=f"warm:{model.id}",
        job_id="",
        account_id="",
        model=model.id,
        run_seconds=0.0,
        load_seconds=estimate.load_seconds,
        vram=estimate.vram_bytes,
        version=model.digest,
    )
