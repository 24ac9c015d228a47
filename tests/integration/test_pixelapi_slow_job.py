"""The script of PixelAPI's document waits for a slow job on a plan with few requests per minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pricing.plans import SHIPPED_PLANS
from tests.support.callers import new_key, run_program
from tests.support.images import size_of
from tests.support.service import ServiceProcess, running

SCRIPT = Path(__file__).parent.parent / "documents" / "pixelapi" / "generate.py.txt"
#: The script reads its balance and submits; nothing is left for its polls, one every two seconds.
REQUESTS_PER_MINUTE = 2
PLAN = f"""
[plans.tiny]
price = "0"
monthly_credits = 100
requests_per_minute = {REQUESTS_PER_MINUTE}
concurrency = 2
priority = 0
"""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[ServiceProcess]:
    plans = tmp_path / "plans.toml"
    plans.write_text(SHIPPED_PLANS.read_text() + PLAN)
    environment = {"PIXELFACTORY_PLANS_FILE": str(plans), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "2"}
    with running(ServiceProcess(tmp_path / "slow", ("--simulate", "1"), environment)) as started:
        yield started


@pytest.mark.slow
async def test_runs_the_script_to_its_end(slow: ServiceProcess, tmp_path: Path) -> None:
    script = SCRIPT.read_text().replace("YOUR_API_KEY", new_key(slow, None, plan="tiny"))
    (tmp_path / "generate.py").write_text(script.replace("https://api.pixelapi.dev", slow.url))
    printed = await run_program(tmp_path, sys.executable, "generate.py")
    assert "done!" in printed
    assert printed.partition("Waiting")[2].partition(" done!")[0].count(".") > 1
    assert size_of((tmp_path / "output.png").read_bytes()) == (1024, 1024)
