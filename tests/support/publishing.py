"""Models that authors publish: a service of their own, their key, and what they send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.callers import new_key
from tests.support.service import ServiceProcess, running

MODELS = "/admin/v1/models"
GENERATIONS = "/api/v1/images/generations"
AUTHOR_SCOPES = ["generate", "read", "billing", "publish"]
RED, GREEN = 0xFF0000, 0x00FF00


def graph(colour: int = RED) -> dict[str, Any]:
    """A picture of one colour."""
    empty = {"width": 64, "height": 64, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty, "_meta": {"title": "size"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}, "_meta": {}},
    }


@pytest.fixture(scope="module")
def publishing_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with the shipped models, which writes models into its data directory."""
    place = tmp_path_factory.mktemp("publishing")
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0"}
    with running(ServiceProcess(place / "data", ("--simulate", "1"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def author(service: ServiceProcess) -> str:
    """The key of an author."""
    return new_key(service, name="studio", scopes=AUTHOR_SCOPES)


async def send(
    service: ServiceProcess, key: str | None, method: str, path: str, body: Any = None
) -> tuple[int, dict[str, Any]]:
    async with service.client(key) as http, http.request(method, path, json=body) as response:
        return response.status, await response.json()


async def publish(service: ServiceProcess, key: str, id: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"id": id, "prompt": graph(), "manifest": {"license": "mit"}} | fields
    return await send(service, key, "POST", MODELS, body)
