"""What is read from an instance's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_instances.fleet.health import build_health_report
from comfy_instances.process.restart_policy import HealthSample
from comfy_instances.protocol.history import parse_queue
from comfy_instances.protocol.system_stats import DeviceStats, SystemStats

NOTHING = parse_queue({"queue_running": [], "queue_pending": []})


def stats(*devices: DeviceStats, argv: tuple[str, ...] = ()) -> SystemStats:
    return SystemStats("0.33.0", "2.11.0", argv, 0, 0, devices)


@pytest.mark.parametrize(
    ("name", "kind", "device", "vram", "simulated"),
    [
        ("cuda:0 NVIDIA H200 : cudaMallocAsync", "cuda", "NVIDIA H200", (100, 40), False),
        ("cuda:0 NVIDIA RTX PRO 6000", "cuda", "NVIDIA RTX PRO 6000", (100, 40), False),
        ("simulated GPU with 96 GiB", "cuda", "simulated", (100, 40), True),
        ("cpu", "cpu", "cpu", (None, None), False),
    ],
)
def test_devices(
    name: str, kind: str, device: str, vram: tuple[int | None, int | None], simulated: bool
) -> None:
    report = build_health_report(stats(DeviceStats(name, kind, 0, 100, 40)), NOTHING)
    assert (report.device, report.vram_total, report.vram_free) == (device, *vram)
    assert report.simulated is simulated


def test_no_device_at_all() -> None:
    assert build_health_report(stats(), NOTHING).device == "unknown"


def test_queue() -> None:
    row = [0, "id", {}, {}, []]
    report = build_health_report(stats(), parse_queue({"queue_running": [row], "queue_pending": [row, row]}))
    assert report.to_health_sample(7) == HealthSample(running=1, waiting=2, memory=7)


def test_whose_it_is() -> None:
    report = build_health_report(stats(argv=("main.py", "--base-directory", "/data/gpu-0")), NOTHING)
    assert report.was_launched_in(Path("/data/gpu-0"))
    assert not report.was_launched_in(Path("/data/gpu-1"))
