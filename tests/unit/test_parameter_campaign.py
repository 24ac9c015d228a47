"""A share of the campaign over all parameters, addresses and models: nothing is ignored without a word."""

from __future__ import annotations

import pytest

from scripts.fuzz.parameters import run_campaign


@pytest.mark.exhaustive
async def test_every_parameter_changes_the_request_or_is_refused_or_warned_of() -> None:
    report = await run_campaign(seed=1, share=0.015)
    assert report.violations == {}
    assert report.total("differ") > 150
    assert report.total("refused") > 300
    assert report.total("warned") > 25
    assert report.total("exact") > 50
