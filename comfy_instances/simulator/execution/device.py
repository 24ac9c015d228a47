"""A simulated GPU: the weights in its memory, and the duration of loading and sampling."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from comfy_instances.simulator.execution.weights import GIGABYTE, SimulatedWeightFile

#: Bytes per second from disk to GPU memory.
LOAD_BYTES_PER_SECOND = 3 * GIGABYTE
#: Bytes of working memory per latent position (8x8 pixels of one latent frame).
WORKING_BYTES_PER_POSITION = 120_000
#: Seconds of a sampler step per gigabyte of weights and latent position.
STEP_SECONDS_PER_GIGABYTE_POSITION = 5e-7
#: Bytes of GPU memory that a process uses before it loads a model.
CUDA_CONTEXT_BYTES = 512 * 1024**2


class ProcessingInterrupted(Exception):
    """Processing was interrupted."""


class OutOfMemoryError(Exception):
    """Reported to clients as `torch.OutOfMemoryError`."""


OutOfMemoryError.__module__ = "torch"


@dataclass(slots=True)
class SimulatedDevice:
    """Holds weights and evicts the least recently used. One thread uses it; others only read."""

    #: Size of the GPU memory in bytes.
    total_bytes: int
    #: Factor on all simulated times; 0 disables waiting.
    time_scale: float = 0.0
    interrupt_requested: threading.Event = field(default_factory=threading.Event)
    #: Loaded files, least recently used first.
    _loaded: dict[SimulatedWeightFile, None] = field(default_factory=dict)

    @property
    def free_bytes(self) -> int:
        """Return the free GPU memory in bytes."""
        return max(
            0,
            self.total_bytes
            - CUDA_CONTEXT_BYTES
            - sum(weights.size_bytes for weights in tuple(self._loaded)),
        )

    @property
    def loaded_weights(self) -> tuple[SimulatedWeightFile, ...]:
        return tuple(self._loaded)

    def load_weights(self, required: Iterable[SimulatedWeightFile], working_bytes: int = 0) -> None:
        """Load `required`, leaving `working_bytes` free; other weights are evicted as needed.

        Raises OutOfMemoryError if that does not fit into the whole memory, and ProcessingInterrupted.
        """
        wanted = dict.fromkeys(required)
        missing = sum(weights.size_bytes for weights in wanted if weights not in self._loaded)
        if (
            CUDA_CONTEXT_BYTES + working_bytes + sum(weights.size_bytes for weights in wanted)
            > self.total_bytes
        ):
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {working_bytes / 1024**3:.2f} GiB. GPU 0 has a total "
                f"capacity of {self.total_bytes / 1024**3:.2f} GiB of which "
                f"{self.free_bytes / 1024**3:.2f} GiB is free."
            )
        for weights in tuple(self._loaded):
            if self.free_bytes >= missing + working_bytes:
                break
            if weights not in wanted:
                del self._loaded[weights]
        self.simulate_work(missing / LOAD_BYTES_PER_SECOND)
        for weights in wanted:
            self._loaded.pop(weights, None)
            self._loaded[weights] = None

    def unload_weights(self) -> None:
        self._loaded = {}

    def simulate_work(self, seconds: float) -> None:
        """Wait for `seconds` of simulated time. Raises ProcessingInterrupted as soon as interrupted."""
        if (
            self.interrupt_requested.wait(seconds * self.time_scale)
            if self.time_scale
            else self.interrupt_requested.is_set()
        ):
            self.interrupt_requested.clear()
            raise ProcessingInterrupted

    def wait_for_interrupt(self) -> None:
        """Wait until interrupted, then raise ProcessingInterrupted."""
        self.interrupt_requested.wait()
        self.interrupt_requested.clear()
        raise ProcessingInterrupted


def estimate_step_seconds(model: Iterable[SimulatedWeightFile], positions: int, guided: bool) -> float:
    """Return the seconds of one sampler step; with guidance the model runs twice."""
    gigabytes = sum(weights.size_bytes for weights in model) / GIGABYTE
    return STEP_SECONDS_PER_GIGABYTE_POSITION * gigabytes * positions * (2 if guided else 1)
