"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.store_harness import STORES, StoreHarness, open_world


@pytest.fixture(params=STORES)
def store_kind(request: pytest.FixtureRequest) -> str:
    """The name of each implementation of the store, in turn."""
    return str(request.param)


@pytest.fixture
async def world(store_kind: str, tmp_path: Path) -> AsyncIterator[StoreHarness]:
    """A store of each implementation, with one funded account; its ledger is audited afterwards."""
    async with open_world(store_kind, tmp_path) as world:
        yield world
