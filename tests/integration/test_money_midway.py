"""What changes while a job runs changes nothing about what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pricing.tariff import SHIPPED_TARIFFS
from tests.support.api import submit_job, wait_for_job
from tests.support.service import ServiceProcess, running

PATH = "/api/v1/images/generations"
FILM = {"model": "wan2.1-t2v-fast", "prompt": "waves", "num_frames": 162, "response_format": "url"}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose one card takes about a second for a film; its price lists are ours to change."""
    directory = tmp_path_factory.mktemp("midway")
    shutil.copytree(str(SHIPPED_TARIFFS), directory / "tariffs")
    environment = {
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.05",
        "PIXELFACTORY_TARIFFS_DIR": str(directory / "tariffs"),
    }
    with running(ServiceProcess(directory / "data", ("--simulate", "1"), environment)) as started:
        yield started


async def submit(http: aiohttp.ClientSession) -> str:
    return await submit_job(http, FILM)


async def until(http: aiohttp.ClientSession, job: str, status: str) -> dict[str, Any]:
    view = await wait_for_job(http, job, status, "completed", "failed", "cancelled")
    assert view["status"] == status
    return view


async def wallet(http: aiohttp.ClientSession) -> tuple[float, float]:
    """Balance, held."""
    async with http.get("/api/v1/billing/balance") as response:
        body = await response.json()
    return body["balance_usd"], body["held_usd"]


@pytest.mark.slow
async def test_a_key_that_is_revoked_has_its_job_finished_and_charged(slow: ServiceProcess) -> None:
    made = slow.run("keys", "create", "--credit", "1")
    other = slow.run("keys", "create", "--account", made["account"])["key"]
    async with slow.client(made["key"]) as http, slow.client(other) as owner:
        job = await submit(http)
        await until(http, job, "processing")
        slow.run("keys", "revoke", made["id"])
        async with http.get(f"/api/v1/jobs/{job}") as response:
            assert response.status == 401
        assert (await until(owner, job, "completed"))["costUsd"] == 0.01
        assert await wallet(owner) == (0.99, 0.0)


@pytest.mark.slow
async def test_a_plan_change_expires_the_allowance_and_keeps_the_hold(slow: ServiceProcess) -> None:
    made = slow.run("keys", "create", "--plan", "starter")
    async with slow.client(made["key"]) as http:
        job = await submit(http)
        await until(http, job, "processing")
        assert await wallet(http) == (1.5, 0.01)
        slow.run("keys", "plan", made["id"], "standard")
        assert await wallet(http) == (0.01, 0.01)  # the allowance is gone, what is held is not
        await until(http, job, "completed")
        assert await wallet(http) == (0.0, 0.0)


@pytest.mark.slow
async def test_a_price_change_applies_to_later_jobs(slow: ServiceProcess) -> None:
    tariffs = Path(slow.environment["PIXELFACTORY_TARIFFS_DIR"])
    async with slow.client(slow.key("1.00")) as http:
        job = await submit(http)
        await until(http, job, "processing")
        slow.kill()
        now = (tariffs / "pixel-factory.toml").read_text()
        today = datetime.now(UTC).date()
        dearer = now.replace("effective = 2025-01-01", f"effective = {today}").replace(
            '"wan2.1-t2v-fast" = "0.0050"', '"wan2.1-t2v-fast" = "0.0500"'
        )
        assert dearer.count(str(today)) == dearer.count('"0.0500"') == 1
        (tariffs / "pixel-factory-dearer.toml").write_text(dearer)
        slow.start()
        assert (await until(http, job, "completed"))["costUsd"] == 0.01
        assert await wallet(http) == (0.99, 0.0)
        async with http.post("/api/v1/quote", json=FILM) as response:
            assert (await response.json())["cost_usd"] == 0.1
        await until(http, await submit(http), "completed")
        assert await wallet(http) == (0.89, 0.0)
