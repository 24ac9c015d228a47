"""Fills an account's gallery by the store, without running anything."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from orchestrator.jobs import Attempt, Job, Output, Usage, create_shards
from orchestrator.store import Store
from orchestrator.store.sqlite.store import SqliteStore
from tests.support.service import ServiceProcess

#: Results of each job: few jobs with many results are stored fast.
OUTPUTS_PER_JOB = 10


def fill_gallery(service: ServiceProcess, account_id: str, key_id: str, results: int) -> None:
    """Add so many results; the first prompt is "number 0", the newest has the highest number.

    Their files do not exist: all thumbnails are those of deleted files.
    """

    async def fill() -> None:
        store = SqliteStore(service.data_dir / "pixelfactory.db")
        try:
            for number in range(results // OUTPUTS_PER_JOB):
                await _add_job(store, account_id, key_id, number)
        finally:
            await store.close()

    # Playwright has an event loop in the thread of the test.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: asyncio.run(fill())).result()


async def _add_job(store: Store, account_id: str, key_id: str, number: int) -> None:
    now = datetime.now(UTC)
    job = Job(
        id=f"job_{number:032x}",
        account_id=account_id,
        key_id=key_id,
        model="flux-1-schnell",
        params={"prompt": f"number {number}", "n": 1, "seed": number},
        price=0,
        created_at=now,
    )
    record, _ = await store.add_job(job, create_shards(job, 1))
    prompt_id = f"prompt-{number:032x}"
    attempt = Attempt(
        prompt_id=prompt_id, shard_id=record.shards[0].id, number=1, instance_id="sim-0", started_at=now
    )
    await store.start_attempt(attempt)
    outputs = [
        Output(
            key=f"outputs/{prompt_id[-2:]}/{prompt_id}-{index:064x}.png",
            content_type="image/png",
            size=1,
            sha256=f"{index:064x}",
            width=512,
            height=512,
        )
        for index in range(OUTPUTS_PER_JOB)
    ]
    await store.finish_shard(prompt_id, outputs, Usage(simulated=True), now)
