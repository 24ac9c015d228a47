from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.unit.simulator.simulator_bench import ExecutorHarness


@pytest.fixture
def bench(tmp_path: Path) -> ExecutorHarness:
    """An executor with one picture, red above blue and half transparent on the right, to start from."""
    bench = ExecutorHarness(tmp_path)
    picture = Image.new("RGBA", (64, 32), (0, 0, 255, 255))
    picture.paste((255, 0, 0, 255), (0, 0, 64, 16))
    picture.paste((0, 0, 255, 128), (32, 16, 64, 32))
    picture.save(bench.folders.input / "start.png")
    return bench
