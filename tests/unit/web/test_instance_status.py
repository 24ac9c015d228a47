"""The status of instances with a GPU, in the admin API and in metrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.hardware.gpus import GpuStats
from orchestrator.catalog import Catalog
from orchestrator.execution.active_shards import ActiveShard
from orchestrator.jobs import Attempt, Job, Shard
from orchestrator.jobs.events import ShardProgress
from orchestrator.web.admin.instances import to_instance_response
from orchestrator.web.instance_status import GpuStatsCache, InstanceRow, InstanceRows
from orchestrator.web.metrics.fleet import collect_instance_metrics, collect_job_metrics
from tests.support.metrics import Scrape
from tests.support.service import ROOT

WORKFLOWS = ROOT / "tests" / "workflows"
MODEL = Catalog.load(WORKFLOWS)["test-image"]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
READING = GpuStats(utilisation=0.97, temperature=64, power=412.5, memory_used=48_000_000_000)
INFO = InstanceInfo(
    id="gpu-0",
    url="http://127.0.0.1:1",
    state=InstanceState.READY,
    simulated=False,
    device="NVIDIA RTX PRO 6000",
    adopted=False,
    vram_total=96_000_000_000,
    vram_free=60_000_000_000,
    restarts=3,
    profile="blackwell-96gb",
    pci_id="00000000:01:00.0",
)


def active(job_id: str, index: int, seconds: float | None) -> ActiveShard:
    """Return a shard that was assigned `seconds` ago; None: it is waiting."""
    job = Job(
        id=job_id, account_id="acct", key_id="key", model=MODEL.id, params={}, price=5000, created_at=NOW
    )
    shard = Shard(id=f"{job_id}-{index}", job_id=job_id, index=index, params={})
    if seconds is None:
        return ActiveShard(job=job, shard=shard, model=MODEL)
    begun = NOW - timedelta(seconds=seconds)
    attempt = Attempt(prompt_id="p", shard_id=shard.id, number=2, instance_id="gpu-0", started_at=begun)
    return ActiveShard(job=job, shard=shard, model=MODEL, attempt=attempt)


def row(gpu: GpuStats | None = READING) -> InstanceRow:
    assigned = (active("job_a", 0, 7.5), active("job_a", 1, 2.0))
    return InstanceRow(
        info=INFO,
        loaded_models=("flux-1-dev", "sdxl-1.0"),
        assigned_shards=assigned,
        busy_ratio=0.5,
        gpu_stats=gpu,
    )


def test_used_vram_is_read_from_the_driver_if_possible() -> None:
    assert row().vram_used == 48_000_000_000
    assert row(gpu=None).vram_used == 36_000_000_000


def test_a_gpu_of_another_machine_is_shown_as_reported_from_there() -> None:
    """And never as a GPU of this machine that has the same place."""
    elsewhere = replace(INFO, id="ray-0", pci_id=None, gpu=replace(READING, temperature=80))

    class Fleet:
        def instances(self) -> list[InstanceInfo]:
            return [INFO, elsewhere]

    cache = GpuStatsCache(lambda pci_id: READING)
    rows = InstanceRows(Fleet(), {}, lambda name: (), lambda name: 0.0, cache)
    asyncio.run(rows.refresh_gpu_stats())
    assert [row.gpu_stats.temperature for row in rows.iter_rows() if row.gpu_stats] == [64, 80]


def test_instance_response_has_gpu_readings_and_shards() -> None:
    progress = ShardProgress(index=0, node_id="3", value=12, maximum=20, fraction=0.55)
    other = replace(progress, index=1, value=3)
    shown = to_instance_response(row(), NOW, lambda job_id: [other, progress])
    assert (shown.utilisation, shown.temperature, shown.power) == (0.97, 64, 412.5)
    assert (shown.profile, shown.restarts) == ("blackwell-96gb", 3)
    assert shown.models_held == ["flux-1-dev", "sdxl-1.0"]
    assert [(shard.state, shard.age_seconds, shard.attempt) for shard in shown.shards] == [
        ("running", 7.5, 2),
        ("waiting", 2.0, 2),
    ]
    assert [(shard.account, shard.step, shard.steps, shard.progress) for shard in shown.shards] == [
        ("acct", 12, 20, 0.55),
        ("acct", None, None, None),
    ]


@pytest.mark.parametrize(
    ("state", "shards", "shown"),
    [
        (InstanceState.READY, 0, "ready"),
        (InstanceState.DRAINING, 1, "draining"),
        (InstanceState.DRAINING, 0, "drained"),
        (InstanceState.FAILED, 0, "failed"),
    ],
)
def test_a_draining_instance_is_drained_once_it_has_no_shards(
    state: InstanceState, shards: int, shown: str
) -> None:
    changed = replace(row(), info=replace(INFO, state=state), assigned_shards=row().assigned_shards[:shards])
    assert changed.state == shown


def test_metrics_of_an_instance_with_a_gpu() -> None:
    found = Scrape({family.name: family for family in collect_instance_metrics([row()])})
    for name, value in (
        ("pixelfactory_gpu_utilisation_ratio", 0.97),
        ("pixelfactory_gpu_temperature_celsius", 64),
        ("pixelfactory_gpu_power_watts", 412.5),
        ("pixelfactory_instance_vram_used_bytes", 48_000_000_000),
        ("pixelfactory_instance_shards", 2),
        ("pixelfactory_instance_models_held", 2),
        ("pixelfactory_instance_restarts_total", 3),
    ):
        assert found.value(name, instance_id="gpu-0") == value, name


def test_counts_job_with_many_shards_once() -> None:
    shards = [active("job_a", 0, 1.0), active("job_a", 1, None), active("job_b", 0, None)]
    found = Scrape({family.name: family for family in collect_job_metrics(shards)})
    assert found.value("pixelfactory_jobs_unfinished", status="running") == 1
    assert found.value("pixelfactory_jobs_unfinished", status="queued") == 1
    assert found.value("pixelfactory_held_usd") == 0.01


async def test_gpu_stats_are_read_at_most_once_a_second() -> None:
    read_pci_ids: list[str] = []

    def read(pci_id: str) -> GpuStats | None:
        read_pci_ids.append(pci_id)
        return READING if pci_id == INFO.pci_id else None

    readings = GpuStatsCache(read)
    assert readings.get(INFO.pci_id) is None
    for _ in range(5):
        await readings.refresh([str(INFO.pci_id), "elsewhere"])
    assert read_pci_ids == [INFO.pci_id, "elsewhere"]
    assert readings.get(INFO.pci_id) == READING
    assert readings.get("elsewhere") is None
    assert readings.get(None) is None
