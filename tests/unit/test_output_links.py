"""Links to outputs: only the service can make them, and they end with the output's lifetime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from orchestrator.errors import NotFound
from orchestrator.execution.output_links import OutputLinks
from orchestrator.jobs import Job, JobRecord, JobStatus, Output, create_shards
from orchestrator.storage.object_store import ObjectStore, S3Config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = Job(
    id="job_" + "0123456789abcdef" * 2,
    account_id="acct_1",
    key_id="key_1",
    model="sdxl-1.0",
    params={"prompt": "a"},
    price=1000,
    created_at=NOW,
    status=JobStatus.SUCCEEDED,
    finished_at=NOW,
)
OUTPUT = Output(key="outputs/ab/abcd.png", content_type="image/png", size=10, sha256="abcd")
RECORD = JobRecord(job=JOB, shards=[replace(create_shards(JOB, 1)[0], outputs=(OUTPUT,))])


@pytest.fixture
async def objects() -> AsyncIterator[ObjectStore]:
    config = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", bucket="files")
    async with ObjectStore(config) as store:
        yield store


def links(
    objects: ObjectStore, *, hours: float = 0, record: JobRecord = RECORD, secret: str = "s"
) -> OutputLinks:
    async def find_job(job_id: str) -> JobRecord | None:
        return record if record.job.id == job_id else None

    now = NOW + timedelta(hours=hours)
    return OutputLinks(
        secret=secret, lifetime=timedelta(hours=24), find_job=find_job, objects=objects, clock=lambda: now
    )


@pytest.mark.parametrize(
    ("status", "hours", "seconds"),
    [
        (JobStatus.RUNNING, 0, 0),
        (JobStatus.FAILED, 0, 0),
        (JobStatus.SUCCEEDED, 0, 86_400),
        (JobStatus.SUCCEEDED, 23, 3_600),
        (JobStatus.SUCCEEDED, 24, 0),
        (JobStatus.SUCCEEDED, 100, 0),
    ],
)
async def test_outputs_can_be_downloaded_for_a_day(
    objects: ObjectStore, status: JobStatus, hours: int, seconds: int
) -> None:
    job = replace(JOB, status=status, finished_at=None if status is JobStatus.RUNNING else NOW)
    assert links(objects, hours=hours).seconds_left(job) == seconds


async def test_a_link_leads_to_its_job_until_it_expires(objects: ObjectStore) -> None:
    path = links(objects).path_of(RECORD)
    assert path.startswith("/outputs/images/2026/03/01/0123456789abcdef")
    assert path.endswith(".png")
    assert await links(objects, hours=23.9).find(path) == RECORD
    with pytest.raises(NotFound):
        await links(objects, hours=24).find(path)


async def test_the_output_of_a_removed_job_is_not_found(objects: ObjectStore) -> None:
    path = links(objects).path_of(RECORD)
    removed = replace(RECORD, job=replace(JOB, removed_at=NOW))
    with pytest.raises(NotFound):
        await links(objects, record=removed).find(path)


async def test_links_that_were_tampered_with_are_not_found(objects: ObjectStore) -> None:
    path = links(objects).path_of(RECORD)
    forged = links(objects, secret="another").path_of(RECORD)
    others = (
        forged,
        path.replace("/03/", "/04/"),
        path.replace(".png", ".jpg"),
        path.replace("0123", "0124"),
        path + "/",
        path.rpartition("-")[0] + ".png",
        "/outputs/images/2026/03/01/x.png",
    )
    for other in others:
        with pytest.raises(NotFound):
            await links(objects).find(other)


async def test_own_links_are_read_from_storage_and_those_of_others_are_not(objects: ObjectStore) -> None:
    path = links(objects).path_of(RECORD)
    presigned = await links(objects).presign_own(f"https://any.host{path}?x=1")
    assert presigned is not None
    assert urlsplit(presigned).path == "/files/outputs/ab/abcd.png"
    for url in ("https://any.host/picture.png", f"https://any.host{path}x", "https://[/outputs/images", ""):
        assert await links(objects).presign_own(url) is None
