"""What a caller's own graph costs, how long it may run, and the errors that its caller gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.billing.charging import GPU_SECOND_PARAM, capture_on_success, final_price, place_hold
from orchestrator.execution.failures import run_and_classify
from orchestrator.execution.instances.watchdog import Watchdog
from orchestrator.jobs import FailureKind, Job, JobRecord, Output, Shard, ShardStatus, Usage, create_shards
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.messages import hide_paths
from orchestrator.own_graphs.model import OwnGraphModel, own_graph_model
from orchestrator.own_graphs.result_names import name_outputs
from pricing.gpu_time import price_gpu_time
from pricing.ledger import Balance, EntryKind

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": {"@file": 0}}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "../a/b%c"}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def job(price: int = 30_000, **params: Any) -> Job:
    values = {"n": 1, "graph": GRAPH, "outputs": ["2", "3"], "files": ["k"], "max_seconds": 30.0, **params}
    return Job(
        id="job_" + "0" * 32,
        account_id="acct",
        key_id="key",
        model=OWN_GRAPH_ID,
        params=values,
        price=price,
        created_at=NOW,
    )


def done(job: Job, seconds: float) -> JobRecord:
    (shard,) = create_shards(job, 1)
    finished: Shard = replace(shard, status=ShardStatus.SUCCEEDED, usage=Usage(gpu_seconds=seconds))
    return JobRecord(job=job, shards=(finished,))


@pytest.mark.parametrize(
    ("seconds", "micros"),
    [(0.0, 1000), (0.024, 1000), (1.0, 1000), (1.0001, 1001), (2.5, 2500), (-1.0, 1000)],
)
def test_charges_by_milliseconds_and_at_least_one_second(seconds: float, micros: int) -> None:
    assert price_gpu_time(seconds, 1000) == micros


def test_captures_what_was_used_and_releases_the_rest() -> None:
    own = job(**{GPU_SECOND_PARAM: 1000})
    (hold,) = place_hold(own, create_shards(own, 1), Balance(available=30_000, held=0)).entries
    changes = capture_on_success(done(own, 2.5), hold, NOW)
    booked = {entry.kind: entry.micros for entry in changes.entries}
    assert booked == {EntryKind.CAPTURE: 2500, EntryKind.RELEASE: 27_500}
    assert changes.job is not None
    assert changes.job.price == 2500
    assert changes.usage[0].micros == 2500


def test_never_captures_more_than_the_hold() -> None:
    assert final_price(done(job(**{GPU_SECOND_PARAM: 1000}), 3600.0)) == 30_000


def test_charges_other_jobs_their_price() -> None:
    assert final_price(done(job(), 3600.0)) == 30_000


async def test_ends_a_run_that_takes_longer_than_its_hold_pays_for() -> None:
    watchdog = Watchdog(60.0, limit=0.05)
    watchdog.record_progress()
    failure = await run_and_classify(watchdog.guard(asyncio.sleep(60)))
    assert failure is not None
    assert failure.kind is FailureKind.GRAPH_TOO_LONG


def test_gives_savers_the_prefix_of_the_service_and_saves_previews() -> None:
    model = own_graph_model(GRAPH, ["2", "3"])
    assert isinstance(model, OwnGraphModel)
    made = model.render_graph({"files": ["xyz.png"]}, filename_prefix="mine")
    assert made["1"]["inputs"] == {"image": "xyz.png"}
    assert made["2"]["inputs"]["filename_prefix"] == "mine"
    assert made["3"] == {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "mine"}}


def test_equal_graphs_are_one_model_and_others_are_not() -> None:
    assert own_graph_model(GRAPH, ["2", "3"]) is own_graph_model(dict(GRAPH), ["2", "3"])
    assert own_graph_model(GRAPH, ["2"]).digest != own_graph_model(GRAPH, ["2", "3"]).digest


def test_names_results_safely_and_once() -> None:
    record = done(job(), 1.0)
    outputs = tuple(
        Output(key=f"outputs/00/x-{node}.png", content_type="image/png", size=1, sha256="0", node=node)
        for node in ("2", "2", "3")
    )
    record = replace(record, shards=(replace(record.shards[0], outputs=outputs),))
    assert [named.name for named in name_outputs(record)] == [
        "b_c_00001_.png",
        "b_c_00002_.png",
        "ComfyUI_00001_.png",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No such file: '/root/.local/share/comfyui/input/x.png'", "No such file: 'x.png'"),
        ("at C:\\Users\\ada\\models\\x.pt", "at x.pt"),
        ("1/2 of the image", "1/2 of the image"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_hides_paths_of_the_server(text: str, expected: str) -> None:
    assert hide_paths(text) == expected
