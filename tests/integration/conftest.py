"""One service for all tests that only ask it things; tests that break it start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node import node_project  # noqa: F401 - a fixture for all tests here
from tests.running import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(Service(tmp_path_factory.mktemp("service"))) as started:
        yield started


@pytest.fixture(scope="session")
def key(service: Service) -> str:
    """A key with money for every test."""
    return service.key("100.00")
