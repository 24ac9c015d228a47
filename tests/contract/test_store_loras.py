"""LoRAs of accounts, and how long their files stay: one suite for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.jobs import JobRecord, Output, create_shards
from orchestrator.jobs.loras import Lora, TrainedLora
from orchestrator.jobs.objects import DeletionReason
from tests.support.store_harness import USAGE, StoreHarness, open_store

ALL = 100
FILE = Output(key="loras/aa/a.safetensors", content_type="application/octet-stream", size=7, sha256="ab" * 32)
SKS = TrainedLora(name="sks", base="sd15", trigger_word="a sks fox")


async def train(world: StoreHarness, trained: TrainedLora | None = SKS, file: Output = FILE) -> JobRecord:
    record = await world.add(model="sd-1.5-lora-trainer")
    attempt = await world.start(record)
    return await world.store.finish_shard(attempt.prompt_id, [file], USAGE, world.later(), trained=trained)


async def use(world: StoreHarness, file: Output = FILE) -> JobRecord:
    """A job that refers to the file of a LoRA."""
    job = world.job()
    record, _ = await world.store.add_job(job, create_shards(job, 1), [file.key])
    return record


async def own(world: StoreHarness, text: str) -> Lora | None:
    return await world.store.find_lora(world.account.id, text)


async def condemned(world: StoreHarness) -> dict[str, DeletionReason]:
    due = await world.store.list_due_deletions(world.now + timedelta(days=1), ALL)
    return {deletion.key: deletion.reason for deletion in due}


async def test_a_finished_training_is_a_lora(store_kind: str, world: StoreHarness, tmp_path: Path) -> None:
    record = await train(world)
    expected = Lora(
        job_id=record.job.id,
        account_id=world.account.id,
        name="sks",
        base="sd15",
        trigger_word="a sks fox",
        model="sd-1.5-lora-trainer",
        key=FILE.key,
        size=7,
        sha256=FILE.sha256,
        created_at=world.now,
    )
    assert await own(world, record.job.id) == await own(world, "sks") == expected
    again = open_store(store_kind, tmp_path)
    try:
        assert list((await again.list_loras(world.account.id)).items) == [expected]
    finally:
        await again.close()


async def test_other_results_and_repeated_ends_are_no_further_loras(world: StoreHarness) -> None:
    record = await train(world)
    attempt = f"{record.shards[0].id}/1"
    await world.store.finish_shard(attempt, [FILE], USAGE, world.later(), trained=SKS)
    await train(world, None, replace(FILE, key="outputs/bb/b.png"))
    assert [lora.job_id for lora in (await world.store.list_loras(world.account.id)).items] == [record.job.id]


async def test_a_cancelled_training_makes_no_lora(world: StoreHarness) -> None:
    record = await world.add()
    attempt = await world.start(record)
    await world.store.cancel_job(record.job.id, world.later())
    await world.store.finish_shard(attempt.prompt_id, [FILE], USAGE, world.later(), trained=SKS)
    assert await own(world, record.job.id) is None
    assert await condemned(world) == {FILE.key: DeletionReason.UNUSED}


async def test_a_generated_name_tells_trigger_words_and_job(world: StoreHarness) -> None:
    record = await train(world, replace(SKS, name="", trigger_word="A Sks/Fox!"))
    lora = await own(world, record.job.id)
    assert lora is not None
    assert lora.name == f"a-sks-fox-{record.job.id[-8:]}"


async def test_a_name_stands_for_the_newest(world: StoreHarness) -> None:
    older = await train(world)
    newer = await train(world, file=replace(FILE, key="loras/bb/b.safetensors"))
    found = await own(world, "sks")
    assert found is not None
    assert found.job_id == newer.job.id
    await world.store.remove_job(newer.job.id, world.later())
    found = await own(world, "sks")
    assert found is not None
    assert found.job_id == older.job.id


async def test_loras_are_invisible_to_other_accounts(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.later())
    record = await train(world)
    for text in (record.job.id, "sks"):
        assert await world.store.find_lora(other.id, text) is None
    assert not (await world.store.list_loras(other.id)).items
    with pytest.raises(InvalidRequest, match="cursor"):
        await world.store.list_loras(other.id, cursor=record.job.id)


async def test_lists_the_newest_first_in_pages(world: StoreHarness) -> None:
    made = [
        (await train(world, file=replace(FILE, key=f"loras/{n}/{n}.safetensors"))).job.id for n in range(3)
    ]
    first = await world.store.list_loras(world.account.id, limit=2)
    second = await world.store.list_loras(world.account.id, limit=2, cursor=first.cursor)
    assert [lora.job_id for lora in (*first.items, *second.items)] == made[::-1]
    assert second.cursor is None


async def test_its_file_outlives_other_results_of_its_age(world: StoreHarness) -> None:
    record = await train(world)
    await use(world)
    assert await world.store.expire_files(world.later(), ALL, world.now) == []
    assert await world.store.expire_loras(record.job.finished_at or world.now, ALL, world.now) == 0
    assert await own(world, "sks") is not None


async def test_an_expired_lora_is_deleted(world: StoreHarness) -> None:
    await train(world)
    assert await world.store.expire_loras(world.later(), ALL, world.now) == 1
    assert await world.store.expire_loras(world.now, ALL, world.now) == 0
    assert await own(world, "sks") is None
    assert await condemned(world) == {FILE.key: DeletionReason.EXPIRED}


@pytest.mark.parametrize("how", ["removed", "expired"])
async def test_a_job_keeps_the_file_of_a_lora_that_is_gone(world: StoreHarness, how: str) -> None:
    """Until that job itself has expired."""
    training = await train(world)
    user = await use(world)
    if how == "removed":
        assert await world.store.remove_job(training.job.id, world.later()) == []
    else:
        assert await world.store.expire_loras(world.later(), ALL, world.now) == 1
    assert await own(world, "sks") is None
    assert await world.store.expire_files(world.later(), ALL, world.now) == []
    assert await condemned(world) == {}
    await world.store.cancel_job(user.job.id, world.later())
    assert await world.store.expire_files(world.later(), ALL, world.now) == [FILE.key]


async def test_refuses_a_job_whose_lora_was_deleted_meanwhile(world: StoreHarness) -> None:
    training = await train(world)
    assert await world.store.remove_job(training.job.id, world.later()) == [FILE.key]
    before = await world.wallet()
    with pytest.raises(InvalidRequest, match="LoRA"):
        await use(world)
    assert await world.wallet() == before


async def test_removing_the_training_deletes_the_file(world: StoreHarness) -> None:
    training = await train(world)
    assert await world.store.remove_job(training.job.id, world.later()) == [FILE.key]
    assert await own(world, training.job.id) is None
    assert await condemned(world) == {FILE.key: DeletionReason.REMOVED}
