"""Results that the node pack of a real ComfyUI delivers, against the way through the service."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import numpy as np
import pytest
from PIL import Image

from comfy_instances.protocol.delivery import PREVIEWS_KEY, DeliveredFile, DeliveryState, replace_savers
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.deliveries import UploadGrant
from comfy_instances.session.session import InstanceSession, Preview
from orchestrator.media.formats import probe_media
from orchestrator.media.marks.source_marks import SourceType, read_source
from tests.support.comfyui_server import installed_comfyui
from tests.support.failing_disk import small_disk
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running
from tests.support.videos import film

INSTALL = installed_comfyui()
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
        content_type = probe_media(one).content_type
        assert read_source(one, content_type) == read_source(other, content_type) == SourceType.GENERATED


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
    # Results are released soon after the response.
    after = await poll(load, lambda found: found["states"] == {})
    assert after["inputs"]["fetched"] == before["inputs"]["fetched"] + 1
    assert after["inputs"]["hits"] == before["inputs"]["hits"] + 1
    assert after["memory_used"] == 0
    assert after["exempt_objects"] > 100_000, "collections between prompts pass over what was imported"


async def test_both_ways_give_the_same_video(direct: ServiceProcess, through: ServiceProcess) -> None:
    parameters = {"num_frames": 9, "fps": 8, "seed": 5, "size": "320x256"}
    (expected,) = await generate(through, through.key(), "test-video", **parameters)
    (made,) = await generate(direct, direct.key(), "test-video", **parameters)
    assert film(made) == film(expected)
    assert b"class_type" not in made


@pytest.fixture
async def session(comfyui: RealServer) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(comfyui.url) as session:
        await session.wait_connected(60)
        yield session


def sampled(steps: int) -> dict[str, Any]:
    """A graph that samples with a tiny model."""
    inputs: dict[str, Any] = {
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["2", 0],
        "latent_image": ["3", 0],
    }
    inputs |= {"seed": 1, "steps": steps, "cfg": 1.0, "denoise": 1.0}
    inputs |= {"sampler_name": "euler", "scheduler": "normal"}
    graph: dict[str, Any] = {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "v1-5-pruned-emaonly-fp16.safetensors"},
        },
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": inputs},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "sampled"}},
    }
    return graph


async def previews_of(session: InstanceSession, steps: int, extra: dict[str, Any]) -> list[Preview]:
    found: list[Any] = []
    prompt_id = str(uuid4())
    graph = replace_savers(sampled(steps), ["9"])
    await session.run_prompt(prompt_id, graph, found.append, extra_data=extra)
    await session.deliveries.release(prompt_id)
    return [event for event in found if isinstance(event, Preview)]


@pytest.fixture(scope="module")
def tiny_models(comfyui: RealServer) -> None:
    """Make models that a CPU samples with."""
    command = [sys.executable, "-m", "scripts.tiny_models", str(comfyui.base / "models")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.usefixtures("tiny_models")
async def test_previews_are_made_for_listeners_at_a_bounded_rate(session: InstanceSession) -> None:
    assert len(await previews_of(session, 12, {})) == 12, "prompts of others are as they were"
    assert await previews_of(session, 13, {PREVIEWS_KEY: False}) == []
    bounded = await previews_of(session, 60, {PREVIEWS_KEY: True})
    assert 1 <= len(bounded) < 60
    assert (bounded[0].node, bounded[0].content_type) == ("4", "image/jpeg")
    assert max(Image.open(io.BytesIO(bounded[0].data)).size) <= 512


@pytest.mark.usefixtures("tiny_models")
async def test_prompts_that_have_ended_are_forgotten_in_one_request(
    session: InstanceSession, comfyui: RealServer
) -> None:
    ended = {str(uuid4()) for _ in range(2)}
    for prompt_id in ended:
        await session.run_prompt(prompt_id, replace_savers(sampled(1), ["9"]), lambda _: None)
    # ComfyUI reports the end of a prompt before it adds the prompt to its history.
    await poll(lambda: history_of(comfyui), lambda history: ended <= set(history))
    assert await session.deliveries.forget(sorted(ended))
    assert not ended & set(await history_of(comfyui))
    for prompt_id in ended:
        with pytest.raises(InstanceGone, match="no longer knows"):
            await session.deliveries.collect(prompt_id, grant_nowhere)


async def history_of(comfyui: RealServer) -> dict[str, Any]:
    """Return the history by prompt id."""
    async with aiohttp.ClientSession(comfyui.url) as http, http.get("/history") as response:
        return dict(await response.json())


async def grant_nowhere(file: DeliveredFile) -> UploadGrant:
    """Grant an upload that goes nowhere: a message that it is encoded may have come late."""
    return UploadGrant("http://127.0.0.1:9/")


async def delivered(
    session: InstanceSession, graph: dict[str, Any], prompt_id: str = ""
) -> tuple[DeliveredFile, ...]:
    """Run a graph whose node 9 delivers; the files cannot be uploaded."""
    prompt_id = prompt_id or str(uuid4())
    result = await session.run_prompt(prompt_id, replace_savers(graph, ["9"]))
    assert {(item.node, item.delivered) for item in result.outputs} == {("9", True)}

    async def grant(file: DeliveredFile) -> UploadGrant:
        return UploadGrant("ftp://nowhere/secret-of-the-request")

    return await session.deliveries.collect(prompt_id, grant)


async def offered(session: InstanceSession, graph: dict[str, Any]) -> list[tuple[DeliveredFile, bytes]]:
    """Run a graph whose node 9 delivers; return the files, which are fetched."""
    prompt_id = str(uuid4())
    files = await delivered(session, graph, prompt_id)
    assert {file.state for file in files} == {DeliveryState.OFFERED}
    return [(file, await session.deliveries.fetch(prompt_id, file.number)) for file in files]


@pytest.mark.parametrize(
    ("saver", "more", "content_type"),
    [
        ("SaveAudio", {}, "audio/flac"),
        ("SaveAudioMP3", {"quality": "V0"}, "audio/mpeg"),
        ("SaveAudioOpus", {"quality": "128k"}, "audio/ogg"),
    ],
)
async def test_sound_is_delivered(
    session: InstanceSession, saver: str, more: dict[str, Any], content_type: str
) -> None:
    silence = {"duration": 1.0, "sample_rate": 44100, "channels": 2}
    inputs = {"audio": ["1", 0], "filename_prefix": "sound", **more}
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyAudio", "inputs": silence},
        "9": {"class_type": saver, "inputs": inputs},
    }
    ((file, data),) = await offered(session, graph)
    info = probe_media(data)
    assert (file.content_type, info.content_type, len(data)) == (content_type, content_type, file.size)
    assert info.duration == pytest.approx(1.0, abs=0.1)


async def test_a_full_disk_concerns_savers_of_files_only(
    session: InstanceSession, comfyui: RealServer
) -> None:
    """Images need no disk. A saver that fills it fails, leaves nothing there, and the next one succeeds."""
    output = comfyui.base / "output"
    sound: dict[str, Any] = {
        "1": {"class_type": "EmptyAudio", "inputs": {"duration": 60.0, "sample_rate": 44100, "channels": 2}},
        "9": {"class_type": "SaveAudio", "inputs": {"audio": ["1", 0], "filename_prefix": "long"}},
    }
    blank = {"width": 64, "height": 64, "batch_size": 1, "color": 9}
    image: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": blank},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "image"}},
    }
    with small_disk(output, 8192), small_disk(comfyui.base / "temp", 8192):
        failed = await delivered(session, sound)
        assert [file.state for file in failed] == [DeliveryState.FAILED]
        assert "No space left" in failed[0].error
        assert list(output.iterdir()) == []
        ((file, data),) = await offered(session, image)
        assert (file.content_type, len(data)) == ("image/png", file.size)
    # The result of a failed saver is not cached: the prefix of each attempt is its own.
    sound["9"]["inputs"]["filename_prefix"] = "again"
    ((file, _),) = await offered(session, sound)
    assert file.content_type == "audio/flac"


async def test_history_has_the_report_and_no_request(session: InstanceSession, comfyui: RealServer) -> None:
    blank = {"width": 64, "height": 64, "batch_size": 2, "color": 7}
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": blank},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "two"}},
    }
    first, second = await offered(session, graph)
    history = await poll(lambda: history_of(comfyui), lambda history: first[0].sha256 in str(history))
    assert (first[0].width, first[0].height, first[1]) == (64, 64, second[1])
    assert "secret-of-the-request" not in str(history)
    assert "secret-of-the-request" not in (comfyui.base / "log").read_text()
