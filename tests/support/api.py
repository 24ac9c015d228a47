"""Calls of the service's HTTP API that many tests make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from tests.support.polling import TIMEOUT_SECONDS, poll
from tests.support.service import ServiceProcess

UNFINISHED = ("pending", "processing")

#: An instance of the admin API's list, by id.
Instances = dict[str, dict[str, Any]]


async def submit_job(
    http: aiohttp.ClientSession, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> str:
    """Submit a generation without waiting for it, and return the job's id."""
    asynchronously = {"Prefer": "respond-async", **(headers or {})}
    async with http.post("/api/v1/images/generations", json=dict(body), headers=asynchronously) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["jobId"])


async def get_job(http: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    async with http.get(f"/api/v1/jobs/{job_id}") as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def wait_for_job(
    http: aiohttp.ClientSession, job_id: str, *statuses: str, seconds: float = TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Wait until the job has one of these statuses, or is finished where none is given."""

    def reached(job: dict[str, Any]) -> bool:
        return job["status"] in statuses if statuses else job["status"] not in UNFINISHED

    return await poll(lambda: get_job(http, job_id), reached, seconds=seconds)


async def list_instances(service: ServiceProcess) -> Instances:
    async with service.client(service.admin_token) as http, http.get("/admin/v1/instances") as response:
        return {row["id"]: row for row in (await response.json())["instances"]}


async def wait_for_instances(
    service: ServiceProcess,
    condition: Callable[[Instances], bool],
    seconds: float = TIMEOUT_SECONDS,
) -> Instances:
    """Wait until the fleet is as wanted, and return its instances."""
    return await poll(lambda: list_instances(service), condition, seconds=seconds)


def all_ready(instances: Instances) -> bool:
    return all(row["state"] == "ready" for row in instances.values())


def all_idle(instances: Instances) -> bool:
    return not any(row["shards"] for row in instances.values())


async def inject_fault(service: ServiceProcess, kind: str, count: int) -> None:
    """Let the next `count` prompts on every simulated instance suffer a fault; 0 takes it back."""
    instances = await list_instances(service)
    async with aiohttp.ClientSession() as http:
        for row in instances.values():
            fault = {"kind": kind, "count": count}
            async with http.post(f"{row['url']}/simulator/faults", json=fault) as response:
                assert response.status == 200, await response.text()
