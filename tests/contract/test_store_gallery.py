"""Looking for jobs by prompt and time, as a gallery does. One suite for every store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.store.values import JobFilter
from tests.support.store_harness import StoreHarness


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("fox", ["A red Fox", "foxes at 100%_night"]),
        ("RED fox", ["A red Fox"]),
        ("fox red", ["A red Fox"]),
        ("%", ["foxes at 100%_night"]),
        ("_", ["foxes at 100%_night"]),
        ("!", []),
        ("'; DROP", []),
        ("", ["A red Fox", "foxes at 100%_night", "", "{}"]),
    ],
)
async def test_finds_jobs_by_words_of_their_prompt(
    world: StoreHarness, search: str, found: list[str]
) -> None:
    for prompt in ("A red Fox", "foxes at 100%_night", "", "{}"):
        await world.add(params={"prompt": prompt, "seed": 1})
    wanted = JobFilter(account_id=world.account.id, words=tuple(search.split()))
    page = await world.store.search_jobs(wanted)
    assert [record.job.params["prompt"] for record in page.items] == found[::-1]


async def test_finds_a_job_without_a_prompt_only_without_words(world: StoreHarness) -> None:
    record = await world.add(params={"image": "x"})
    for words, count in (((), 1), (("x",), 0), (("none",), 0)):
        page = await world.store.search_jobs(JobFilter(account_id=world.account.id, words=words))
        assert [one.job.id for one in page.items] == [record.job.id] * count


async def test_finds_jobs_of_a_day_in_pages(world: StoreHarness) -> None:
    records = []
    for _ in range(4):
        records.append(await world.add())
        world.later(3600)
    start, end = records[1].job.created_at, records[3].job.created_at
    wanted = JobFilter(account_id=world.account.id, created_from=start, created_before=end)
    first = await world.store.search_jobs(wanted, 1)
    second = await world.store.search_jobs(wanted, 1, first.cursor)
    assert [page.items[0].job.id for page in (first, second)] == [records[2].job.id, records[1].job.id]
    assert second.cursor is None
    later = JobFilter(account_id=world.account.id, created_from=end + timedelta(microseconds=1))
    assert list((await world.store.search_jobs(later)).items) == []


async def test_leaves_out_removed_jobs_and_those_of_others(world: StoreHarness) -> None:
    removed, kept = await world.succeed(), await world.succeed()
    await world.store.remove_job(removed.job.id, world.later())
    page = await world.store.search_jobs(JobFilter(account_id=world.account.id, words=("fox",)))
    assert [one.job.id for one in page.items] == [kept.job.id]
    other = await world.store.add_account("Bob", "free", world.later())
    assert list((await world.store.search_jobs(JobFilter(account_id=other.id, words=("fox",)))).items) == []
