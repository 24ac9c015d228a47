"""The scheduler's description of a shard."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.execution.shard_specs import to_shard_spec
from orchestrator.jobs import Job, create_shards
from pricing.plans import Plans
from tests.support.shipped import SHIPPED_CATALOG

MODEL = SHIPPED_CATALOG["flux-1-schnell"]


def test_takes_share_and_concurrency_from_the_plan() -> None:
    job = Job(
        id="job_1",
        account_id="acct_1",
        key_id="key_1",
        model=MODEL.id,
        params=MODEL.example_params(),
        price=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    (shard,) = create_shards(job, 1)
    free, pro = (to_shard_spec(job, shard, MODEL, 5.0, Plans.load()[id]) for id in ("free", "pro"))
    assert (free.fair_share_weight, free.max_concurrency) == (1.0, 2)
    assert (pro.fair_share_weight, pro.max_concurrency) == (4.0, 8)
    assert (free.account_id, free.shard_id, free.deadline) == ("acct_1", "job_1-0", 5.0)
    assert free.run_seconds > 0


def test_names_the_loras_that_are_files_of_an_instance() -> None:
    model = SHIPPED_CATALOG["sd-1.5"]
    loras = [{"name": "ink", "strength": 1.0}, {"job_id": "job_2", "strength": 1.0}]
    job = Job(
        id="job_1",
        account_id="acct_1",
        key_id="key_1",
        model=model.id,
        params=model.example_params() | {"loras": loras},
        price=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    (shard,) = create_shards(job, 1)
    assert to_shard_spec(job, shard, model, 5.0, Plans.load()["free"]).loras == {"ink"}
