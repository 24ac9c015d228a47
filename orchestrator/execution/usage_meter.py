"""What a run uses, found out by listening to it."""

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

#: Part of the class names of nodes that read weights from disk.
_LOADER = "Loader"


class Instances(Protocol):
    """As much of a fleet as a meter looks at."""

    def instances(self) -> Sequence[InstanceInfo]: ...

    def subscribe(self, listener: Callable[[InstanceInfo], None]) -> Callable[[], None]: ...


@dataclass(slots=True)
class _Node:
    """The node that runs now: when it began, and its first and latest step. Times in seconds."""

    id: str
    began: float
    first: tuple[float, float] | None = None
    latest: tuple[float, float] | None = None

    def step(self, at: float, value: float) -> None:
        self.first = self.first or (at, value)
        self.latest = (at, value)

    def silence(self) -> float:
        """Seconds before its first step beyond what its steps take: a sampler moves its model to the GPU."""
        if self.first is None or self.latest is None:
            return 0.0
        (first_at, first_value), (last_at, last_value) = self.first, self.latest
        if last_value <= first_value:
            return 0.0
        each = (last_at - first_at) / (last_value - first_value)
        return max(0.0, first_at - self.began - each * first_value)


class Meter:
    """Listens to one run on one instance."""

    def __init__(
        self, instance_id: str, graph: Mapping[str, Any], clock: Callable[[], float] = monotonic
    ) -> None:
        """Of a run that began before we listened `graph` is empty, and its loading is not known."""
        self._instance_id = instance_id
        self._loaders = {id for id, node in graph.items() if _LOADER in str(node.get("class_type"))}
        self._clock = clock
        self._node: _Node | None = None
        self._loading = 0.0
        self._peak: int | None = None

    @contextmanager
    def watching(self, fleet: Instances) -> Iterator[None]:
        """Looks at the instance's memory whenever the fleet does."""
        unsubscribe = fleet.subscribe(self._see)
        try:
            yield
        finally:
            unsubscribe()

    def hear(self, event: ProgressEvent) -> None:
        """Takes in one event of the run."""
        match event:
            case NodeStarted(node=node):
                self._close()
                self._node = _Node(node, self._clock())
            case StepProgress(node=node, value=value) if self._node and self._node.id == node:
                self._node.step(self._clock(), value)

    def usage(self, result: RunResult, model: Model, fleet: Instances) -> Usage:
        """What the run has used, now that it is over."""
        self._close()
        info = next((one for one in fleet.instances() if one.id == self._instance_id), None)
        if info:
            self._see(info)
        return Usage(
            gpu_seconds=result.gpu_seconds,
            simulated=info.simulated if info else False,
            load_seconds=min(self._loading, result.gpu_seconds),
            peak_vram=self._peak,
            device=info.device if info else "",
            model_digest=model.digest,
        )

    def _close(self) -> None:
        """The running node is done."""
        node, self._node = self._node, None
        if node:
            is_loader = node.id in self._loaders
            self._loading += self._clock() - node.began if is_loader else node.silence()

    def _see(self, info: InstanceInfo) -> None:
        known = info.vram_total is not None and info.vram_free is not None
        if info.id == self._instance_id and known:
            self._peak = max(self._peak or 0, (info.vram_total or 0) - (info.vram_free or 0))
