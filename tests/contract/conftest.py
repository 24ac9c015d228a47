"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.store_harness import STORES, StoreHarness, open_world


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreHarness]:
    """A store of each implementation, with one funded account; its ledger is audited afterwards."""
    async with open_world(request.param, tmp_path) as world:
        yield world
