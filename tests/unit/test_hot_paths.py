"""What every image passes through, in calls of functions, which do not depend on the machine.

A number that grows is a change for the worse, however fast the machine of its author is. One that shrinks is
recorded here. Versions of Python differ by a few calls, so that a tenth more is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from comfy_instances.protocol.message_parser import parse_frame
from orchestrator.billing import charging
from orchestrator.execution.scheduler import (
    InstanceUp,
    JobAdded,
    ModelWarming,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardSpec,
)
from orchestrator.jobs import Attempt, Job, JobRecord, Output, Usage, create_shards
from orchestrator.jobs import attempt_transitions as transitions
from orchestrator.store.sql.rows import entry_to_row, job_to_row, shard_result_to_row, shard_to_row
from pricing.ledger import Balance, hold_entry
from tests.support.calls import count_calls
from tests.support.shipped import SHIPPED_CATALOG

MODEL = "flux-1-schnell"
PARAMS = SHIPPED_CATALOG[MODEL].example_params(width=256, height=256, seed=1)
NOW = datetime(2026, 3, 17, 12, tzinfo=UTC)
IMAGE = Output(key="k", content_type="image/png", size=9, sha256="ab" * 32)
JOB = Job(id="job", account_id="a", key_id="k", model=MODEL, params={"seed": 7}, price=10_000, created_at=NOW)
ATTEMPT = Attempt(prompt_id="p", shard_id="job-0", number=1, instance_id="i", started_at=NOW)
HOLD = hold_entry("a", "job", JOB.price, NOW)
RUNNING = charging.start_new_job(JobRecord(job=JOB, shards=create_shards(JOB, 1)), [ATTEMPT]).new_job
FRAME = json.dumps({"type": "executing", "data": {"prompt_id": "p", "node": "4", "display_node": "4"}})
INSTANCES = 32
MEMORY, NEEDED = 96 * 10**9, 20 * 10**9


def validate() -> None:
    SHIPPED_CATALOG[MODEL].validate_params({"prompt": "a lighthouse", "width": 256, "height": 256})


def render() -> None:
    SHIPPED_CATALOG[MODEL].render_graph(PARAMS, filename_prefix="p")


def accept() -> None:
    record = JobRecord(job=JOB, shards=create_shards(JOB, 1))
    changes = charging.place_hold(JOB, record.shards, Balance(available=10**6, held=0))
    changes += charging.start_new_job(record, [ATTEMPT])
    assert changes.new_job is not None
    job_to_row(changes.new_job.job)
    for shard in changes.new_job.shards:
        shard_to_row(shard)
    for entry in changes.entries:
        entry_to_row(entry)


def finish() -> None:
    assert RUNNING is not None
    shard = transitions.finish_shard(RUNNING.shards[0], [IMAGE], Usage(gpu_seconds=2, device="NVIDIA H100"))
    assert shard is not None
    changes = charging.complete_shard(RUNNING, shard, HOLD, NOW)
    changes.apply_to(RUNNING)
    shard_result_to_row(shard)
    for entry in changes.entries:
        entry_to_row(entry)


def follow() -> None:
    parse_frame(FRAME)


SPEC = ShardSpec(
    shard_id="job-0",
    job_id="job",
    account_id="a",
    model=MODEL,
    run_seconds=1.0,
    load_seconds=9.0,
    vram=NEEDED,
)


def schedule() -> None:
    (run,) = FLEET.handle(JobAdded(specs=[SPEC]), 1.0)
    assert isinstance(run, RunShard)
    FLEET.handle(RunEnded(shard_id="job-0", instance_id=run.instance_id, seconds=0.1), 2.0)
    FLEET.handle(ShardDone(shard_id="job-0"), 2.0)


def make_fleet() -> Scheduler:
    scheduler = Scheduler(max_attempts=3)
    for number in range(INSTANCES):
        up = InstanceUp(instance_id=f"i{number}", speed=1.0, vram=MEMORY, models=frozenset({MODEL}))
        scheduler.handle(up, 0.0)
        # Each has run the model before, as in a fleet that serves one.
        scheduler.handle(ModelWarming(instance_id=up.instance_id, spec=SPEC, phase="loaded"), 0.0)
    return scheduler


FLEET = make_fleet()


@pytest.mark.parametrize(
    ("path", "budget"),
    [
        (validate, 108),
        (render, 597),
        (accept, 173),
        (schedule, 601),
        (follow, 23),
        (finish, 251),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_hot_path_calls_no_more_functions_than_it_did(path: Callable[[], None], budget: int) -> None:
    path()  # what is worked out once
    assert count_calls(path) <= budget * 1.1
