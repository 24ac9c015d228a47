"""The simulated GPU: what its memory holds, what its work costs in time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from comfy_instances.simulator.execution.weights import GIGABYTE, Weights

#: Bytes per second from disk to GPU memory.
LOAD_RATE = 3 * GIGABYTE
#: Bytes of working memory per latent position (8x8 pixels of one latent frame).
WORKING_BYTES = 120_000
#: Seconds of a sampler step per gigabyte of weights and latent position.
STEP_SECONDS = 5e-7
#: Bytes that a process takes on the GPU before any model.
CONTEXT_BYTES = 512 * 1024**2


class Interrupted(Exception):
    """Processing was interrupted."""


class OutOfMemoryError(Exception):
    """Reported under the name that torch's own error has."""


OutOfMemoryError.__module__ = "torch"


@dataclass(slots=True)
class Device:
    """Holds weights, least recently used out first. One thread works on it; others only read."""

    #: Bytes.
    total: int
    #: Factor on all simulated times; 0 spends none.
    time_scale: float = 0.0
    interrupt: threading.Event = field(default_factory=threading.Event)
    #: In order of use, oldest first.
    _held: dict[Weights, None] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """Bytes."""
        return max(0, self.total - CONTEXT_BYTES - sum(weights.size for weights in tuple(self._held)))

    @property
    def held(self) -> tuple[Weights, ...]:
        return tuple(self._held)

    def use(self, needed: Iterable[Weights], working: int = 0) -> None:
        """Have `needed` in memory beside `working` bytes, loading what is not there.

        Raises OutOfMemoryError where both do not fit together even if nothing else is held, and
        Interrupted.
        """
        wanted = dict.fromkeys(needed)
        missing = sum(weights.size for weights in wanted if weights not in self._held)
        if CONTEXT_BYTES + working + sum(weights.size for weights in wanted) > self.total:
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {working / 1024**3:.2f} GiB. GPU 0 has a total "
                f"capacity of {self.total / 1024**3:.2f} GiB of which {self.free / 1024**3:.2f} GiB is free."
            )
        for weights in tuple(self._held):
            if self.free >= missing + working:
                break
            if weights not in wanted:
                del self._held[weights]
        self.spend(missing / LOAD_RATE)
        for weights in wanted:
            self._held.pop(weights, None)
            self._held[weights] = None

    def unload(self) -> None:
        self._held = {}

    def spend(self, seconds: float) -> None:
        """Let simulated time pass. Raises Interrupted, at once when interrupted."""
        if self.interrupt.wait(seconds * self.time_scale) if self.time_scale else self.interrupt.is_set():
            self.interrupt.clear()
            raise Interrupted


def step_seconds(model: Iterable[Weights], positions: int, guided: bool) -> float:
    """One sampler step; with guidance the model runs twice."""
    gigabytes = sum(weights.size for weights in model) / GIGABYTE
    return STEP_SECONDS * gigabytes * positions * (2 if guided else 1)
