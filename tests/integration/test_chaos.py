"""The short form of the chaos campaign: all operations and faults, and an audit that finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 400


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_SECONDS + 20)
def test_a_short_campaign_violates_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.chaos", "--quick", "--seed", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "nothing lost" in done.stdout
