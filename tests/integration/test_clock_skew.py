"""Processes whose clocks are a minute ahead or behind: each runs under libfaketime."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.api import get_job, submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.installation import Installation, installed
from tests.support.polling import poll, wait_until
from tests.support.s3_server import S3Server
from tests.support.service import COMMAND, ServiceProcess
from tests.support.webhook_receiver import receiving

PATH = "/api/v1/images/generations"
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}
AHEAD, BEHIND = "+60", "-60"
#: Shorter than two clocks differ: what compares the times of two hosts fails.
SECONDS = 90


def find_library() -> Path | None:
    """The library that gives a process another clock."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


LIBRARY = find_library()
pytestmark = [
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt install faketime)"),
    pytest.mark.slow,
]


@dataclass(kw_only=True)
class SkewedProcess(ServiceProcess):
    """A process that takes another time for the current one."""

    skew: str = AHEAD

    def launch(self, environment: dict[str, str]) -> Any:
        log = (self.data_dir / "service.log").open("ab")
        skewed = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME": self.skew,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
            # Otherwise Python takes all compiled modules for outdated ones.
            "NO_FAKE_STAT": "1",
        }
        options = ("--port", str(self.port)) if self.role != "webhooks" else ()
        with log:
            return subprocess.Popen(
                [COMMAND, self.role, *options, "--data-dir", self.data_dir, *self.options],
                env={**os.environ, **environment, **skewed},
                stdout=log,
                stderr=log,
            )


def prepare(installation: Installation, role: str, name: str, skew: str, *options: str) -> SkewedProcess:
    plain = installation.prepare(role, name, *options)
    process = SkewedProcess(plain.data_dir, options, plain.environment, role=role, skew=skew)
    installation.processes[-1] = process
    return process


@dataclass(frozen=True)
class Skewed:
    """An installation of processes with different clocks."""

    installation: Installation
    scheduler: SkewedProcess
    ahead: SkewedProcess
    behind: SkewedProcess
    key: str

    @property
    def apis(self) -> tuple[SkewedProcess, SkewedProcess]:
        return self.ahead, self.behind


@pytest.fixture(scope="module")
def skewed(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skewed]:
    """Scheduler and one API process are ahead, the other and the sender of webhooks are behind."""
    with installed(tmp_path_factory.mktemp("skewed"), s3) as installation:
        installation.settings["PIXELFACTORY_MAX_JOB_SECONDS"] = str(SECONDS)
        installation.settings["PIXELFACTORY_URL_LIFETIME_SECONDS"] = str(SECONDS)
        urls = ",".join(one.url for one in installation.simulators)
        made = [
            prepare(installation, "scheduler", "scheduler", AHEAD, "--instances", urls, "--no-webhooks"),
            prepare(installation, "api", "ahead", AHEAD),
            prepare(installation, "api", "behind", BEHIND),
        ]
        sender = prepare(installation, "webhooks", "webhooks", BEHIND)
        sender.process = sender.launch(dict(sender.environment))
        for process in made:
            process.start()
        key = new_key(made[1], "5.00", scopes=["generate", "read", "billing"])
        yield Skewed(installation, made[0], made[1], made[2], key)


async def test_every_process_says_how_far_its_clock_is_off(skewed: Skewed) -> None:
    assert "60.0 s ahead of that of the database" in skewed.ahead.log
    assert "60.0 s behind that of the database" in skewed.behind.log


async def test_a_job_of_any_process_runs_and_its_links_work_at_the_other(skewed: Skewed) -> None:
    """A job may wait no longer than `SECONDS`, and a link ends after them."""
    for one, other in (skewed.apis, skewed.apis[::-1]):
        async with one.client(skewed.key) as http, other.client(skewed.key) as second:
            async with http.post(PATH, json=IMAGE) as response:
                assert response.status == 200, await response.text()
            job = await wait_for_job(second, await submit_job(http, IMAGE))
            assert job["status"] == "completed", job
            for maker in (http, second):
                (asset,) = (await get_job(maker, job["jobId"]))["assets"]
                path = urlsplit(asset["url"]).path
                for reader in (http, second):
                    async with reader.get(path) as image:
                        assert image.status == 200


async def test_times_of_a_job_are_in_order_and_true(skewed: Skewed) -> None:
    async with skewed.behind.client(skewed.key) as http:
        begun = datetime.now(UTC)
        job = await wait_for_job(http, await submit_job(http, IMAGE))
    ended = datetime.now(UTC)
    created, finished = (datetime.fromisoformat(job[name]) for name in ("createdAt", "finishedAt"))
    margin = timedelta(seconds=1)
    assert begun - margin <= created <= finished <= ended + margin


async def test_a_webhook_is_sent_at_once_with_a_signature_that_receivers_accept(skewed: Skewed) -> None:
    async with receiving(200) as receiver, skewed.ahead.client(skewed.key) as http:
        async with http.get("/api/v1/webhooks/secret") as response:
            secret = (await response.json())["secret"]
        job = await submit_job(http, {**IMAGE, "webhook_url": receiver.url})
        # Not after the two minutes by which the clocks of scheduler and sender differ.
        message = await receiver.next(SECONDS)
        assert message.checked(secret)["data"]["jobId"] == job
        assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < SECONDS


async def test_a_key_ends_when_its_process_says(skewed: Skewed) -> None:
    expires = (datetime.now(UTC) + timedelta(seconds=45)).isoformat()
    for one in skewed.apis:
        key = new_key(one, None, expires_at=expires)
        for api in skewed.apis:
            async with api.client(key) as http, http.get("/api/v1/jobs") as response:
                assert response.status == 200, (one.skew, api.skew)


async def test_requests_of_all_processes_count_against_one_limit(skewed: Skewed) -> None:
    key = new_key(skewed.ahead, "1.00")
    remaining = []
    for number in range(6):
        async with skewed.apis[number % 2].client(key) as http, http.get("/api/v1/jobs") as response:
            remaining.append(int(response.headers["X-RateLimit-Remaining"]))
            reset = int(response.headers["X-RateLimit-Reset"])
            # By the clock of the caller, which is that of neither process.
            assert -2 <= reset - time.time() <= 62
    assert remaining == list(range(remaining[0], remaining[0] - 6, -1))


async def test_a_session_works_at_every_process(skewed: Skewed) -> None:
    for one in skewed.apis:
        login = {"credential": skewed.key}
        origin = {"Origin": one.url}
        async with one.client() as http, http.post("/session", json=login, headers=origin) as response:
            assert response.status == 204, await response.text()
            cookies = {name: morsel.value for name, morsel in response.cookies.items()}
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        for api in skewed.apis:
            async with api.client() as http, http.get("/session", headers=header) as response:
                assert (await response.json())["signed_in"] is True, (one.skew, api.skew)


async def test_a_repeated_request_gets_the_job_of_the_first(skewed: Skewed) -> None:
    for number, (one, other) in enumerate((skewed.apis, skewed.apis[::-1])):
        headers = {"Idempotency-Key": f"skewed-{number}"}
        async with one.client(skewed.key) as http, other.client(skewed.key) as second:
            job = await submit_job(http, IMAGE, headers)
            assert await submit_job(second, IMAGE, headers) == job
            await wait_for_job(second, job)


async def test_a_standby_that_is_behind_succeeds_the_leader_and_goes_on(skewed: Skewed) -> None:
    urls = ",".join(one.url for one in skewed.installation.simulators)
    standby = prepare(skewed.installation, "scheduler", "standby", BEHIND, "--instances", urls)
    standby.start()
    async with skewed.ahead.client(skewed.key) as http:
        jobs = [await submit_job(http, {**IMAGE, "steps": 60, "n": 2}) for _ in range(3)]

        async def states() -> list[str]:
            return [(await get_job(http, id))["status"] for id in jobs]

        await poll(states, lambda found: "processing" in found)
        assert skewed.scheduler.process is not None
        skewed.scheduler.process.send_signal(signal.SIGSTOP)
        try:
            done = await asyncio.gather(*(wait_for_job(http, id) for id in jobs))
        finally:
            skewed.scheduler.process.send_signal(signal.SIGCONT)
        assert [job["status"] for job in done] == ["completed"] * 3
    assert "leading, for the term" in standby.log
    await wait_until(lambda: skewed.scheduler.process is None or skewed.scheduler.process.poll() == 75)


def test_audits_are_clean(skewed: Skewed) -> None:
    assert skewed.ahead.audit() == []
