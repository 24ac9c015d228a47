"""Results that the node pack of a real ComfyUI delivers, against the way through the service."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from tests.support.real_comfyui import RealServer, installation
from tests.support.service import ROOT, ServiceProcess, running
from tests.support.videos import film

INSTALL = installation()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    pytest.mark.timeout(600),
]
#: Nodes in place of the test models' own, for pictures that are no single colour.
WORKFLOWS = ROOT / "tests" / "workflows"


@pytest.fixture(scope="module")
def comfyui(comfyui_with_pack: RealServer) -> RealServer:
    return comfyui_with_pack


def service_on(comfyui: RealServer, data: Any, **more: str) -> ServiceProcess:
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(WORKFLOWS), **more}
    return ServiceProcess(data, ("--instances", comfyui.url), environment)


@pytest.fixture(scope="module")
def direct(comfyui: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running(service_on(comfyui, tmp_path_factory.mktemp("direct"))) as service:
        yield service


@pytest.fixture(scope="module")
def through(comfyui: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    data = tmp_path_factory.mktemp("through")
    with running(service_on(comfyui, data, PIXELFACTORY_DIRECT_DELIVERY="false")) as service:
        yield service


async def generate(service: ServiceProcess, key: str, model: str, **parameters: Any) -> list[bytes]:
    """Return the results of one request."""
    async with service.client(key) as http:
        body = {"model": model, "prompt": "x", "response_format": "b64_json", **parameters}
        async with http.post("/api/v1/images/generations", json=body) as response:
            found = await response.json()
    assert response.status == 200, found
    return [base64.b64decode(row["b64_json"]) for row in found["data"]]


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.array(Image.open(io.BytesIO(data)))


def gradient(size: tuple[int, int]) -> str:
    """A picture with many colours, as a request takes it."""
    red = Image.radial_gradient("L").resize(size)
    picture = Image.merge("RGB", (red, red.rotate(180), Image.linear_gradient("L").resize(size)))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("test-image", {"size": "512x256", "n": 2, "seed": 77}),
        ("test-upscale", {"image": gradient((320, 200)), "size": "auto"}),
        ("test-upscale", {"image": gradient((320, 200)), "size": "auto", "output_format": "jpeg"}),
        ("test-upscale", {"image": gradient((64, 64)), "size": "auto", "output_format": "webp"}),
        ("test-transparent", {"size": "256x256"}),
        ("test-transparent", {"size": "256x256", "output_format": "jpeg"}),
    ],
)
async def test_both_ways_give_the_same_pixels(
    direct: ServiceProcess, through: ServiceProcess, model: str, parameters: dict[str, Any]
) -> None:
    expected = await generate(through, through.key(), model, **parameters)
    made = await generate(direct, direct.key(), model, **parameters)
    assert len(made) == len(expected)
    for one, other in zip(made, expected, strict=True):
        assert Image.open(io.BytesIO(one)).format == Image.open(io.BytesIO(other)).format
        assert np.array_equal(pixels(one), pixels(other))
        assert b"class_type" not in one


async def instance_of(service: ServiceProcess) -> dict[str, Any]:
    """The one instance as operators see it."""
    async with service.client(service.admin_token) as http, http.get("/admin/v1/instances") as response:
        (found,) = (await response.json())["instances"]
    return dict(found)


async def test_operators_see_the_way_of_results(direct: ServiceProcess, through: ServiceProcess) -> None:
    for service in (direct, through):
        await generate(service, service.key(), "test-image", size="256x256")
    assert (await instance_of(direct))["delivery"] == "direct"
    shown = await instance_of(through)
    assert (shown["delivery"], shown["delivery_detail"]) == (
        "service",
        "the setting `direct_delivery` is off",
    )


async def test_an_input_file_is_fetched_once_and_stays_for_the_next_request(
    direct: ServiceProcess, comfyui: RealServer
) -> None:
    async def load() -> dict[str, Any]:
        headers = {"X-Pixel-Factory-Delivery": "1"}
        async with (
            aiohttp.ClientSession(comfyui.url, headers=headers) as http,
            http.get("/pixelfactory/delivery") as response,
        ):
            return dict(await response.json())

    before = await load()
    image = gradient((96, 96))
    first = await generate(direct, direct.key(), "test-upscale", image=image, size="auto")
    assert await generate(direct, direct.key(), "test-upscale", image=image, size="auto") == first
    after = await load()
    assert after["inputs"]["fetched"] == before["inputs"]["fetched"] + 1
    assert after["inputs"]["hits"] == before["inputs"]["hits"] + 1
    assert after["memory_used"] == 0
    assert after["states"] == {}


async def test_both_ways_give_the_same_video(direct: ServiceProcess, through: ServiceProcess) -> None:
    parameters = {"num_frames": 9, "fps": 8, "seed": 5, "size": "320x256"}
    (expected,) = await generate(through, through.key(), "test-video", **parameters)
    (made,) = await generate(direct, direct.key(), "test-video", **parameters)
    assert film(made) == film(expected)
    assert b"class_type" not in made
