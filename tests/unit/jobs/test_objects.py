"""Keys of stored objects, and which of them nobody needs."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from orchestrator.jobs.objects import (
    NO_FILE_CHANGES,
    DeletionReason,
    FileChanges,
    JobFile,
    condemn,
    is_job_object,
    object_owner,
    owned_object_key,
    unneeded_keys,
)

PROMPT_ID, JOB_ID = str(UUID(int=0xAB)), f"job_{0xCD:032x}"
SHA256 = "3f" * 32
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prefix", "owner", "ext"),
    [("outputs/", PROMPT_ID, "png"), ("outputs/", JOB_ID, "safetensors"), ("inputs/", JOB_ID, "svg+xml")],
)
def test_a_key_names_its_owner_and_its_content(prefix: str, owner: str, ext: str) -> None:
    key = owned_object_key(prefix, owner, SHA256, ext)
    assert key == f"{prefix}{owner[-2:]}/{owner}-{SHA256}.{ext}"
    assert object_owner(key) == owner
    assert is_job_object(key)


def test_owners_with_equal_content_have_keys_of_their_own() -> None:
    keys = {owned_object_key("outputs/", str(UUID(int=number)), SHA256, "png") for number in range(50)}
    assert len(keys) == 50


@pytest.mark.parametrize("key", [f"outputs/3f/{SHA256}.png", f"inputs/3f/{SHA256}.zip"])
def test_a_key_of_an_earlier_version_names_no_owner(key: str) -> None:
    assert object_owner(key) is None
    assert is_job_object(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "outputs/",
        "outputs/readme.txt",
        f"logs/3f/{SHA256}.png",
        f"outputs/3f/{SHA256}",
        f"outputs/3f/{SHA256[1:]}.png",
        f"outputs/3f/more/{SHA256}.png",
        f"backup/outputs/3f/{SHA256}.png",
        f"outputs/3f/{PROMPT_ID}-{SHA256}.png\n",
        f"outputs/3f/{PROMPT_ID}-{SHA256.upper()}.png",
    ],
)
def test_other_keys_are_not_ours(key: str) -> None:
    assert not is_job_object(key)
    assert object_owner(key) is None


def test_objects_that_are_needed_or_belong_to_a_running_attempt_are_spared() -> None:
    owners = [str(UUID(int=number)) for number in range(4)]
    keys = [owned_object_key("outputs/", owner, SHA256, "png") for owner in owners]
    assert unneeded_keys([*keys, keys[3]], {keys[0]}, {owners[1]}) == [keys[2], keys[3]]


def test_a_condemned_object_is_due_at_once_and_only_once() -> None:
    (deletion,) = condemn(["a", "a"], DeletionReason.ORPHAN, NOW).deletions
    assert (deletion.key, deletion.reason, deletion.due_at, deletion.attempts) == (
        "a",
        DeletionReason.ORPHAN,
        NOW,
        0,
    )


def test_changes_add_up() -> None:
    added = FileChanges(added=(JobFile(key="a", job_id="one"),), dropped_jobs=("two",))
    dropped = FileChanges(dropped_keys=("b",)) + condemn(["b"], DeletionReason.EXPIRED, NOW)
    both = added + dropped
    assert (both.added, both.dropped_jobs, both.dropped_keys) == (added.added, ("two",), ("b",))
    assert [one.key for one in both.deletions] == ["b"]
    assert NO_FILE_CHANGES + both == both
