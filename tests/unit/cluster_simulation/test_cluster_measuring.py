"""What the measuring program makes of counters and times."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from scripts.bench.cluster_simulation.measured_up import Counters, operation_name
from scripts.bench.measure_cluster_inputs import (
    QUANTILES,
    batches,
    cpu_seconds,
    difference,
    quantiles,
    thread_seconds,
)


def test_counts_amounts_by_kind_and_name(tmp_path: Path) -> None:
    counters, file = Counters(), tmp_path / "report.json"
    counters.add("s3", "PUT", sent=10, received=0)
    counters.add("s3", "PUT", sent=5, received=1)
    counters.add("published", "JobChanged")
    counters.write(file)
    put = {"count": 2, "sent": 15, "received": 1}
    assert json.loads(file.read_text()) == {"s3": {"PUT": put}, "published": {"JobChanged": {"count": 1}}}


def test_differences_are_per_job_and_leave_out_what_did_not_happen() -> None:
    before: dict[str, dict[str, float]] = {
        "writes/add_job": {"count": 3, "cpu": 0.5},
        "reads/idle": {"count": 7},
    }
    after: dict[str, dict[str, float]] = {
        "writes/add_job": {"count": 13, "cpu": 1.0},
        "reads/idle": {"count": 7},
        "writes/new": {"count": 5},
    }
    assert difference(before, after, 10) == {
        "writes": {"add_job": {"count": 1.0, "cpu": 0.05}, "new": {"count": 0.5}}
    }


def test_quantiles_begin_and_end_with_the_extremes() -> None:
    found = quantiles([float(number) for number in range(101)])
    assert len(found) == QUANTILES + 1
    assert (found[0], found[10], found[-1]) == (0.0, 50.0, 100.0)
    assert found == sorted(found)


def test_batches_differ_from_the_reference_in_one_respect() -> None:
    rows = {batch.name: batch for batch in batches(40, "http://receiver/hook")}
    assert rows["image"].body == rows["alone"].body == {}
    assert all(len(batch.body) == 1 for name, batch in rows.items() if name not in ("image", "alone"))
    assert rows["four_images"].n == 4


def test_an_operation_is_named_after_the_method_of_the_store() -> None:
    names: list[str] = []

    async def write() -> None:
        names.append(operation_name())

    async def _change() -> None:
        await write()

    async def finish_shard() -> None:
        await _change()

    asyncio.run(finish_shard())
    assert names == ["finish_shard"]


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux with schedstat")
def test_reads_the_times_of_threads() -> None:
    own = cpu_seconds(Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}"))
    assert 0 < own <= thread_seconds(os.getpid())
    assert cpu_seconds(Path("/proc/none")) == 0.0
