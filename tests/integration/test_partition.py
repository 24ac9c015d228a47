"""The network between the service and one of its instances is cut, and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.api import all_idle, submit_job, wait_for_instances, wait_for_job
from tests.support.comfyui_server import simulator
from tests.support.network_namespace import network_namespace
from tests.support.service import ServiceProcess, running

IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "steps": 60}
SLOW = ("--time-scale", "0.5")


@pytest.mark.slow
async def test_jobs_of_an_instance_that_is_cut_off_run_elsewhere(tmp_path: Path) -> None:
    """No packet arrives and no connection is closed; afterwards the instance is used again."""
    with (
        network_namespace() as network,
        simulator(tmp_path / "near", *SLOW) as near,
        simulator(tmp_path / "far", *SLOW, "--host", network.address, inside=network) as far,
    ):
        options = ("--instances", f"{near.url},{far.url}")
        with running(ServiceProcess(tmp_path / "data", options)) as service:
            async with service.client(service.key("5.00")) as http:
                jobs = [await submit_job(http, {**IMAGE, "seed": number}) for number in range(4)]
                rows = await wait_for_instances(
                    service, lambda found: all(row["shards"] for row in found.values())
                )
                (far_id,) = (id for id, row in rows.items() if row["url"] == far.url)
                network.cut()
                done = await asyncio.gather(*(wait_for_job(http, job) for job in jobs))
                assert {job["status"] for job in done} == {"completed"}
                found = await wait_for_instances(service, lambda found: found[far_id]["state"] == "down")
                assert found[far_id]["detail"]
                network.connect()
                await wait_for_instances(
                    service, lambda found: found[far_id]["state"] == "ready" and all_idle(found)
                )
                more = [await submit_job(http, {**IMAGE, "seed": 10 + number}) for number in range(4)]
                await wait_for_instances(service, lambda found: bool(found[far_id]["shards"]))
                for job in more:
                    assert (await wait_for_job(http, job))["status"] == "completed"
                async with http.get("/api/v1/billing/ledger") as response:
                    kinds = [entry["kind"] for entry in (await response.json())["entries"]]
            assert (kinds.count("hold"), kinds.count("capture")) == (8, 8)
