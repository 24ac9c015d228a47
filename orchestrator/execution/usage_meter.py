"""Measures what a run uses, from its events and the memory that the fleet reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from comfy_instances.fleet.protocol import InstanceInfo
from comfy_instances.session.session import NodeStarted, ProgressEvent, RunResult, StepProgress
from orchestrator.catalog import Model
from orchestrator.jobs import Usage

#: Part of the class names of all nodes that read weights from disk.
_LOADER_CLASS_MARKER = "Loader"


class ObservableFleet(Protocol):
    """The part of a fleet that a usage meter needs."""

    def instances(self) -> Sequence[InstanceInfo]: ...

    def subscribe(self, listener: Callable[[InstanceInfo], None]) -> Callable[[], None]: ...


@dataclass(slots=True)
class _NodeTiming:
    """Start time of the running node and its first and latest step as (time, value), in seconds."""

    id: str
    started_at: float
    first_step: tuple[float, float] | None = None
    latest_step: tuple[float, float] | None = None

    def record_step(self, at: float, value: float) -> None:
        self.first_step = self.first_step or (at, value)
        self.latest_step = (at, value)

    def warmup_seconds(self) -> float:
        """Return the seconds before the first step that exceed the duration of a step.

        In this time a sampler moves its model to the GPU.
        """
        if self.first_step is None or self.latest_step is None:
            return 0.0
        (first_at, first_value), (last_at, last_value) = self.first_step, self.latest_step
        if last_value <= first_value:
            return 0.0
        seconds_per_step = (last_at - first_at) / (last_value - first_value)
        return max(0.0, first_at - self.started_at - seconds_per_step * first_value)


class UsageMeter:
    """Measures one run on one instance."""

    def __init__(
        self, instance_id: str, graph: Mapping[str, Any], clock: Callable[[], float] = monotonic
    ) -> None:
        """`graph` is empty for a run of an earlier process; then the load time is unknown."""
        self._instance_id = instance_id
        self._loaders = {
            id for id, node in graph.items() if _LOADER_CLASS_MARKER in str(node.get("class_type"))
        }
        self._clock = clock
        self._running_node: _NodeTiming | None = None
        self._load_seconds = 0.0
        self._peak_vram: int | None = None

    @contextmanager
    def watch_memory(self, fleet: ObservableFleet) -> Iterator[None]:
        """Record the instance's memory each time that the fleet reports it."""
        unsubscribe = fleet.subscribe(self._record_memory)
        try:
            yield
        finally:
            unsubscribe()

    def record_event(self, event: ProgressEvent) -> None:
        """Process one event of the run."""
        match event:
            case NodeStarted(node=node):
                self._finish_node()
                self._running_node = _NodeTiming(node, self._clock())
            case StepProgress(node=node, value=value) if self._running_node and self._running_node.id == node:
                self._running_node.record_step(self._clock(), value)

    def finish(self, result: RunResult, model: Model, fleet: ObservableFleet) -> Usage:
        """Return what the finished run used."""
        self._finish_node()
        info = next((one for one in fleet.instances() if one.id == self._instance_id), None)
        if info:
            self._record_memory(info)
        return Usage(
            gpu_seconds=result.gpu_seconds,
            simulated=info.simulated if info else False,
            load_seconds=min(self._load_seconds, result.gpu_seconds),
            peak_vram=self._peak_vram,
            device=info.device if info else "",
            model_digest=model.digest,
        )

    def _finish_node(self) -> None:
        """Count the load time of the running node, which has ended."""
        node, self._running_node = self._running_node, None
        if node:
            is_loader = node.id in self._loaders
            self._load_seconds += self._clock() - node.started_at if is_loader else node.warmup_seconds()

    def _record_memory(self, info: InstanceInfo) -> None:
        if info.id != self._instance_id or info.vram_total is None or info.vram_free is None:
            return
        self._peak_vram = max(self._peak_vram or 0, info.vram_total - info.vram_free)
