"""Failed attempts become failure kinds, and kinds become errors for callers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfy_instances.protocol.errors import InstanceError, InstanceGone, OutputRefused
from orchestrator.errors import NotFound
from orchestrator.execution.failures import (
    FAILURE_MESSAGES,
    AttemptAbandoned,
    AttemptFailure,
    run_and_classify,
    to_job_error,
)
from orchestrator.jobs import FailureKind
from orchestrator.media.errors import ObjectStoreUnavailable


def subclasses(cls: type[InstanceError]) -> Iterator[type[InstanceError]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


async def failing(error: Exception) -> None:
    raise error


async def succeeding() -> int:
    return 1


@pytest.mark.parametrize("error", list(subclasses(InstanceError)))
def test_has_a_kind_for_every_instance_error(error: type[InstanceError]) -> None:
    assert FailureKind(error.kind) in FAILURE_MESSAGES


def test_has_a_message_for_every_kind() -> None:
    assert set(FAILURE_MESSAGES) == set(FailureKind)


async def test_returns_none_for_a_successful_run() -> None:
    assert await run_and_classify(succeeding()) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InstanceGone("gone", while_running=True), AttemptFailure(FailureKind.INSTANCE_GONE, "gone")),
        (InstanceGone("gone"), AttemptFailure(FailureKind.INSTANCE_GONE, "gone", has_run=False)),
        (
            InstanceGone("stopped", while_running=True, self_inflicted=True),
            AttemptFailure(FailureKind.INSTANCE_GONE, "stopped", has_run=False),
        ),
        (OutputRefused("nsfw"), AttemptFailure(FailureKind.OUTPUT_REFUSED, "nsfw")),
        (ObjectStoreUnavailable("full"), AttemptFailure(FailureKind.STORE_UNAVAILABLE, "full")),
        (AttemptAbandoned("lost"), AttemptFailure(FailureKind.ABANDONED, "lost")),
        (NotFound("no job"), AttemptFailure(FailureKind.INTERNAL, "no job")),
        (RuntimeError("bug"), AttemptFailure(FailureKind.INTERNAL, "RuntimeError('bug')")),
    ],
)
async def test_classifies_failed_runs(error: Exception, expected: AttemptFailure) -> None:
    assert await run_and_classify(failing(error)) == expected


def test_shows_a_refused_output_as_a_content_policy_violation() -> None:
    assert to_job_error(FailureKind.OUTPUT_REFUSED).code == "content_policy_violation"
    assert to_job_error(FailureKind.OUT_OF_MEMORY).code == "out_of_memory"
