"""PixelAPI, PixelDojo and Pixazo's gateway on a real ComfyUI on the CPU: submit, poll, download, be
told.

The models are those of tests/workflows, which need no weights, under names of the documents.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from tests.integration.test_pixazo import (
    BATCH,
    DEV,
    FILL,
    RESTORE,
    SCHNELL,
    checked,
    client,
    files,
    made,
    mask,
)
from tests.support.callers import new_key, wait_for_status
from tests.support.comfyui_server import installed_comfyui
from tests.support.images import png, size_of
from tests.support.photos import hosting
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running
from tests.support.videos import film
from tests.support.webhook_receiver import receiving

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    pytest.mark.timeout(600),
]
NAMES = {
    "test-image": '"sdxl", "flux-1.1-pro", "flux-dev", "flux-1-schnell"',
    "test-video": '"cogvideo-2b", "wan-2.6-flash"',
    "test-fill": '"flux-fill-dev"',
    "test-upscale": '"flux-kontext-restore-image"',
}


@pytest.fixture(scope="module")
def service(comfyui: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {
        "PIXELFACTORY_WORKFLOWS_DIR": str(named_models(tmp_path_factory.mktemp("models"))),
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    }
    data = tmp_path_factory.mktemp("service")
    with running(ServiceProcess(data, ("--instances", comfyui.url), environment)) as started:
        yield started


def named_models(directory: Path) -> Path:
    for id, names in NAMES.items():
        shutil.copytree(ROOT / "tests" / "workflows" / id, directory / id)
        manifest = directory / id / "model.toml"
        text = manifest.read_text()
        manifest.write_text(text.replace("max_resolution =", f"aliases = [{names}]\nmax_resolution ="))
    return directory


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


async def test_pixelapi_generates_an_image(service: ServiceProcess) -> None:
    async with service.client(new_key(service, "1.00")) as http:
        asked = {"model": "sdxl", "prompt": "a cat", "width": 768, "height": 512, "seed": 7}
        async with http.post("/v1/image/generate", json=asked) as response:
            picture = await response.json()
            assert "X-PixelFactory-Simulated" not in response.headers
        async with http.post(
            "/v1/image/generate", json={"model": "cogvideo-2b", "prompt": "waves"}
        ) as response:
            video = await response.json()
        seen = await wait_for_status(http, f"/v1/image/{picture['generation_id']}", "completed")
        assert size_of(await download(seen["output_url"])) == (768, 512)
        seen = await wait_for_status(http, f"/v1/image/{video['generation_id']}", "completed")
        assert film(await download(seen["output_url"])).frames == 17
        async with http.get("/v1/account/balance") as response:
            assert response.status == 200, await response.text()
            assert (await response.json())["credits_remaining"] == 1000 - 1 - 25


async def test_pixeldojo_generates_an_image(service: ServiceProcess) -> None:
    async with receiving() as receiver, service.client(new_key(service, "1.00")) as http:
        asked = {"prompt": "a sunset", "aspect_ratio": "4:3", "resolution": "0.5 MP", "n": 2}
        body = {**asked, "webhook_url": receiver.url}
        async with http.post("/api/v1/models/flux-1.1-pro/run", json=body) as response:
            made = await response.json()
        assert (made["creditCost"], made["creditsRemaining"]) == (2, 98)
        told = (await receiver.next(180)).data
        assert (told["jobId"], told["status"], told["simulated"]) == (made["jobId"], "completed", False)
        assert [size_of(await download(url)) for url in told["output"]["images"]] == [(832, 624)] * 2
        seen = await wait_for_status(http, f"/api/v1/jobs/{made['jobId']}", "completed")
        assert [asset["contentType"] for asset in seen["assets"]] == ["image/png"] * 2


async def test_pixazos_queue_and_results(service: ServiceProcess) -> None:
    async with receiving() as receiver, client(service, new_key(service, "1.00")) as http:
        header = {"X-Webhook-URL": receiver.url}
        asked = {
            "prompt": "a sunset",
            "image_size": "landscape_4_3",
            "num_images": 2,
            "output_format": "jpeg",
        }
        done = await made(http, DEV, **asked, headers=header)
        assert [size_of(data) for data in await files(done)] == [(1024, 768)] * 2
        assert done["output"]["media_type"] == "image/jpeg"
        told = json.loads((await receiver.next(180)).body)
        assert (told["request_id"], told["status"]) == (done["request_id"], "COMPLETED")
        async with http.post(SCHNELL, json={"prompt": "a", "width": 512, "height": 256}) as response:
            assert "X-PixelFactory-Simulated" not in response.headers
            assert size_of(await download((await response.json())["output"])) == (512, 256)
        async with http.post(BATCH, json={"prompt": "a", "webhook_url": receiver.url}) as response:
            queued = (await response.json())["requestId"]
        told = json.loads((await receiver.next(180)).body)
        assert (told["requestId"], told["status"]) == (queued, "completed")
        assert size_of(await download((await checked(http, queued))["output"])) == (1024, 1024)


async def test_pixazos_edits(service: ServiceProcess) -> None:
    """White is painted over, black stays; and the formats are those that were asked for."""
    async with (
        hosting({"photo.png": png(320, 256)}) as photos,
        client(service, new_key(service, "1.00")) as http,
    ):
        photo = f"{photos}/photo.png"
        fields = {"prompt": "a", "image": photo, "mask": mask(320, 256), "seed": 0x00FF00}
        done = await made(http, FILL, **fields, megapixels="match_input", output_format="png")
        (data,) = await files(done)
        with Image.open(io.BytesIO(data)) as picture, Image.open(io.BytesIO(png(320, 256))) as before:
            after = picture.convert("RGB")
            assert after.getpixel((40, 200)) == pytest.approx((0, 255, 0), abs=2)
            right = (168, 0, 320, 256)
            assert after.crop(right).tobytes() == before.crop(right).tobytes()
        done = await made(http, FILL, **fields, megapixels="0.25")
        assert [size_of(data) for data in await files(done)] == [(560, 448)]
        assert done["output"]["media_type"] == "image/webp"
        done = await made(http, RESTORE, input_image=photo, output_format="jpg")
        assert [size_of(data) for data in await files(done)] == [(1280, 1024)]
        assert done["output"]["media_type"] == "image/jpeg"
