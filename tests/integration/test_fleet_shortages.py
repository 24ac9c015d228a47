"""A fleet whose own process runs out of descriptors for a while (a real limit, in a child)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.process.child import find_free_port

ROOT = Path(__file__).resolve().parents[2]


async def starve(directory: Path, kind: str, *urls: str) -> tuple[dict[str, Any], str]:
    """Return the report of a fleet that ran out of descriptors, and its log."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.descriptor_hog", str(directory), kind, *urls),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()[-4000:]
    return dict(json.loads(out)), err.decode()


@pytest.mark.slow
async def test_instances_that_cannot_be_launched_are_launched_when_the_shortage_is_over(
    tmp_path: Path,
) -> None:
    report, log = await starve(tmp_path, "local")
    assert report["after"] == ["ready", "ready"]
    assert "failed" not in report["during"]
    assert all(failures <= 1 for failures in report["failures"]), "only the kill itself counts"
    assert all(errors > 5 for errors in report["errors"])
    assert log.count("supervision of sim-0 failed and is repeated") <= 4, log
    assert "Traceback" not in log


@pytest.mark.slow
async def test_healthy_instances_are_not_restarted_because_they_cannot_be_probed(tmp_path: Path) -> None:
    report, _ = await starve(tmp_path, "local-alive")
    assert report["after"] == ["ready", "ready"]
    assert report["restarts"] == [0, 0]


@pytest.mark.slow
async def test_adopted_instances_stay_monitored(tmp_path: Path) -> None:
    port = find_free_port()
    simulator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "comfy_instances.simulator", "--port", str(port)),
        *("--base-directory", str(tmp_path / "simulator")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        report, _ = await starve(tmp_path, "adopted", f"http://127.0.0.1:{port}")
    finally:
        simulator.kill()
        await simulator.wait()
    assert report["after"] == ["ready"]
