"""Jobs and shards are values whose status follows the transition tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.jobs import (
    JOB_TRANSITIONS,
    SHARD_TRANSITIONS,
    IllegalTransition,
    Job,
    JobStatus,
    ShardStatus,
    create_shards,
)

JOB = Job(
    id="j",
    account_id="a",
    key_id="k",
    model="m",
    params={"seed": 7, "prompt": "a cat"},
    price=1,
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    webhook_url="https://example.com/hook",
)


@pytest.mark.parametrize("before", JobStatus)
@pytest.mark.parametrize("after", JobStatus)
def test_allows_only_the_job_transitions_of_the_table(before: JobStatus, after: JobStatus) -> None:
    job = replace(JOB, status=before)
    if after in JOB_TRANSITIONS[before]:
        assert job.transition_to(after).status is after
    else:
        with pytest.raises(IllegalTransition, match=f"job j: {before} -> {after}"):
            job.transition_to(after)


@pytest.mark.parametrize("before", ShardStatus)
@pytest.mark.parametrize("after", ShardStatus)
def test_allows_only_the_shard_transitions_of_the_table(before: ShardStatus, after: ShardStatus) -> None:
    shard = replace(create_shards(JOB, 1)[0], status=before)
    if after in SHARD_TRANSITIONS[before]:
        assert shard.transition_to(after).status is after
    else:
        with pytest.raises(IllegalTransition, match=f"shard j-0: {before} -> {after}"):
            shard.transition_to(after)


def test_numbers_the_seeds_of_shards_up_to_the_largest() -> None:
    assert [shard.params["seed"] for shard in create_shards(JOB, 3)] == [7, 8, 9]
    last = replace(JOB, params={"seed": MAX_SEED - 1})
    assert [shard.params["seed"] for shard in create_shards(last, 2)] == [MAX_SEED - 1, MAX_SEED]
    assert [shard.params for shard in create_shards(replace(JOB, params={}), 2)] == [{}, {}]


def test_has_no_webhook_for_an_excluded_final_status() -> None:
    assert JOB.notify_url == "https://example.com/hook"
    failures_only = replace(JOB, webhook_statuses=frozenset({JobStatus.FAILED}))
    assert failures_only.notify_url == "https://example.com/hook", "the job is not finished"
    assert replace(failures_only, status=JobStatus.SUCCEEDED).notify_url is None
    assert replace(failures_only, status=JobStatus.FAILED).notify_url == "https://example.com/hook"
