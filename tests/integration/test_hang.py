"""A run that gets nowhere is given up, its instance is restarted, and the job is done elsewhere."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.support.polling import poll
from tests.support.service import ROOT, ServiceProcess, running

SETTINGS = {
    "PIXELFACTORY_WORKFLOWS_DIR": str(ROOT / "tests" / "workflows"),
    "PIXELFACTORY_STALL_SECONDS": "1",
}


@pytest.mark.slow
async def test_a_hung_instance_is_restarted_and_its_job_is_done_elsewhere(tmp_path: Path) -> None:
    def back(row: dict[str, object]) -> bool:
        return bool(row["restarts"]) and row["state"] == "ready"

    with running(ServiceProcess(tmp_path / "data", ("--simulate", "2"), SETTINGS)) as service:
        async with service.client(service.admin_token) as admin:
            ready = await poll(lambda: _instances(admin, "ready"), lambda found: len(found) == 2)
            async with aiohttp.ClientSession() as http:
                fault = {"kind": "hang", "count": 1}
                async with http.post(f"{ready['sim-0']['url']}/simulator/faults", json=fault) as response:
                    assert response.status == 200
            async with service.client(service.key("1.00")) as http:
                body = {"model": "test-image", "prompt": "a cat", "n": 2, "response_format": "url"}
                async with http.post("/api/v1/images/generations", json=body) as response:
                    assert response.status == 200, await response.text()
                async with http.get("/api/v1/billing/ledger") as response:
                    kinds = [entry["kind"] for entry in (await response.json())["entries"]]
            assert (kinds.count("hold"), kinds.count("capture")) == (1, 1)
            assert "stalled: no progress for" in service.log
            await poll(lambda: _instances(admin), lambda found: back(found["sim-0"]))


async def _instances(admin: aiohttp.ClientSession, state: str | None = None) -> dict[str, dict[str, object]]:
    async with admin.get("/admin/v1/instances") as response:
        rows = (await response.json())["instances"]
    return {row["id"]: row for row in rows if state in (None, row["state"])}
