"""The usage of a run is measured from its events and from the memory that the fleet reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.session.session import NodeStarted, ProgressEvent, RunResult, StepProgress
from orchestrator.execution.usage_meter import UsageMeter
from tests.support.shipped import SHIPPED_CATALOG

GRAPH = {
    "1": {"class_type": "UNETLoader"},
    "2": {"class_type": "LoadImage"},
    "3": {"class_type": "KSampler"},
    "4": {"class_type": "SaveImage"},
}
MODEL = SHIPPED_CATALOG["flux-1-schnell"]
GIB = 2**30


def info(free: int | None, id: str = "gpu-0") -> InstanceInfo:
    return InstanceInfo(
        id=id,
        url="http://127.0.0.1:1",
        state=InstanceState.READY,
        simulated=False,
        device="NVIDIA H200",
        adopted=False,
        vram_total=10 * GIB,
        vram_free=free,
    )


@dataclass
class StaticInstances:
    """A fleet with the instances that a test sets."""

    infos: list[InstanceInfo] = field(default_factory=list)
    listeners: list[Callable[[InstanceInfo], None]] = field(default_factory=list)

    def instances(self) -> list[InstanceInfo]:
        return self.infos

    def subscribe(self, listener: Callable[[InstanceInfo], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


def started(node: str) -> NodeStarted:
    return NodeStarted("p", node)


def step(value: float, node: str = "3") -> StepProgress:
    return StepProgress("p", node, value, 4)


def load_seconds(*events: tuple[float, ProgressEvent], gpu_seconds: float = 100.0) -> float:
    """Return the measured load time for events at given times; the run ends at the last one."""
    now = [0.0]
    meter = UsageMeter("gpu-0", GRAPH, lambda: now[0])
    for at, event in events:
        now[0] = at
        meter.record_event(event)
    result = RunResult("p", (), gpu_seconds, frozenset())
    return meter.finish(result, MODEL, StaticInstances()).load_seconds


def test_counts_the_time_of_loader_nodes() -> None:
    assert load_seconds((0, started("1")), (7, started("2")), (9, started("4")), (12, started("4"))) == 7


def test_counts_a_loader_that_is_the_last_node() -> None:
    assert load_seconds((0, started("2")), (1, started("1")), (5, step(1, "2"))) == 4


def test_counts_the_warmup_of_a_sampler() -> None:
    """Each step takes 2 s, so 8 of the 10 s before the first step are load time."""
    steps = [(10, step(1)), (12, step(2)), (14, step(3)), (16, step(4))]
    assert load_seconds((0, started("3")), *steps, (17, started("4"))) == pytest.approx(8)


@pytest.mark.parametrize("steps", [[], [(10, step(1))], [(10, step(4)), (12, step(4))]])
def test_counts_no_warmup_without_two_steps(steps: list[tuple[float, StepProgress]]) -> None:
    assert load_seconds((0, started("3")), *steps, (17, started("4"))) == 0


def test_counts_no_negative_warmup() -> None:
    assert load_seconds((0, started("3")), (1, step(1)), (9, step(2)), (17, started("4"))) == 0


def test_ignores_steps_of_another_node() -> None:
    assert load_seconds((0, started("2")), (5, step(1)), (6, step(2))) == 0


def test_limits_the_load_time_to_the_gpu_time() -> None:
    assert load_seconds((0, started("1")), (9, started("4")), gpu_seconds=3.0) == 3.0


def test_records_the_peak_memory_of_its_instance() -> None:
    fleet = StaticInstances([info(6 * GIB)])
    meter = UsageMeter("gpu-0", GRAPH)
    with meter.watch_memory(fleet):
        for seen in (info(8 * GIB), info(1 * GIB), info(None), info(0, "gpu-1")):
            for listener in fleet.listeners:
                listener(seen)
    assert fleet.listeners == []
    usage = meter.finish(RunResult("p", (), 2.5, frozenset()), MODEL, fleet)
    assert (usage.gpu_seconds, usage.peak_vram) == (2.5, 9 * GIB)
    assert (usage.device, usage.model_digest) == ("NVIDIA H200", MODEL.digest)


def test_reports_unknown_values_for_a_missing_instance() -> None:
    usage = UsageMeter("gpu-0", {}).finish(RunResult("p", (), 1.0, frozenset()), MODEL, StaticInstances())
    assert (usage.peak_vram, usage.device, usage.simulated) == (None, "", False)
