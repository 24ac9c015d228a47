"""The search for a size is as good among thousands of widths as if all were tried."""

from __future__ import annotations

import math

import pytest

from orchestrator.catalog.parameters import output_sizes
from orchestrator.catalog.parameters.output_sizes import OutputSizes
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter


def sizes(minimum: int, maximum: int, grid: int) -> OutputSizes:
    side = IntegerParameter(type="integer", minimum=minimum, maximum=maximum, grid=grid)
    return OutputSizes(side, side, Size(maximum, maximum // 2))


@pytest.mark.parametrize("offered", [sizes(16, 1200, 1), sizes(256, 1024, 16)])
@pytest.mark.parametrize("wanted", [Size(1366, 768), Size(20, 900), Size(5000, 300), Size(300, 311)])
def test_finds_the_same_sizes_as_a_search_of_all(
    offered: OutputSizes, wanted: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratio = wanted.width / wanted.height
    found = offered.nearest_sizes(wanted), offered.fit_aspect_ratio(ratio, wanted.area)
    monkeypatch.setattr(output_sizes, "MAX_WIDTHS", math.inf)
    assert found == (offered.nearest_sizes(wanted), offered.fit_aspect_ratio(ratio, wanted.area))
