"""A node that fails with the same error in every attempt would fail again, and is reported as such."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.execution.active_shards import ActiveShard, final_failure, record_failure
from orchestrator.execution.failures import FAILURE_MESSAGES, AttemptFailure
from orchestrator.jobs import REPEATABLE_FAILURES, FailureKind, Job, Shard
from tests.support.drafts import CATALOG

BOOM = AttemptFailure(FailureKind.NODE_FAILED, "save (SaveVideo): ExternalError: no such size")
BANG = AttemptFailure(FailureKind.NODE_FAILED, "sampler (KSampler): RuntimeError: NaN")
GONE = AttemptFailure(FailureKind.INSTANCE_GONE, "connection refused")
AGAIN = FailureKind.NODE_FAILED_REPEATEDLY


def shards_after(*failures: AttemptFailure) -> dict[str, ActiveShard]:
    job = Job(
        id="job",
        account_id="account",
        key_id="key",
        price=1,
        model="flux-1-schnell",
        params={},
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    shard = Shard(id="job-0", job_id="job", index=0, params={})
    shards = {shard.id: ActiveShard(job=job, shard=shard, model=CATALOG["flux-1-schnell"])}
    for failure in failures:
        record_failure(shards, shard.id, failure)
    return shards


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ([BOOM, BOOM], AGAIN),
        ([BOOM, BOOM, BOOM], AGAIN),
        ([BOOM], FailureKind.NODE_FAILED),
        ([BOOM, BANG], FailureKind.NODE_FAILED),
        ([GONE, BOOM], FailureKind.NODE_FAILED),
        ([GONE, GONE], FailureKind.INSTANCE_GONE),
        ([], FailureKind.EXPIRED),
    ],
    ids=["twice", "thrice", "once", "two errors", "once after a loss", "lost", "expired"],
)
def test_names_the_final_failure(failures: list[AttemptFailure], kind: FailureKind) -> None:
    last = failures[-1].kind if failures else FailureKind.EXPIRED
    assert final_failure(shards_after(*failures)["job-0"], last) is kind
    assert (kind in REPEATABLE_FAILURES) is (kind is not AGAIN)
    assert kind in FAILURE_MESSAGES


def test_ignores_failures_of_shards_that_are_gone() -> None:
    shards = shards_after()
    record_failure(shards, "other-0", BOOM)
    assert [*shards] == ["job-0"]
    assert final_failure(None, FailureKind.NODE_FAILED) is FailureKind.NODE_FAILED
