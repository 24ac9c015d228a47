"""The requests of programs that speak to a ComfyUI server, as their sources write them.

Each test sends what one program sends, with its headers and its encodings, and reads of the answer what that
program reads. The key has the scope `graphs`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import pytest
import requests

from tests.support.callers import new_key
from tests.support.images import png, size_of
from tests.support.service import ServiceProcess

SCOPES = ["graphs", "read"]
MIME = "image/png"


def drawing(checkpoint: str, **more: Any) -> dict[str, Any]:
    """The workflow that both programs have by default, a sampler between loaders and a saver."""
    sampler = {
        "seed": 1, "steps": 2, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
    }  # fmt: skip
    return {
        "3": {"inputs": sampler | more, "class_type": "KSampler", "_meta": {"title": "KSampler"}},
        "4": {"inputs": {"ckpt_name": checkpoint}, "class_type": "CheckpointLoaderSimple"},
        "5": {"inputs": {"width": 256, "height": 192, "batch_size": 2}, "class_type": "EmptyLatentImage"},
        "6": {"inputs": {"text": "a fox", "clip": ["4", 1]}, "class_type": "CLIPTextEncode"},
        "7": {"inputs": {"text": "", "clip": ["4", 1]}, "class_type": "CLIPTextEncode"},
        "8": {"inputs": {"samples": ["3", 0], "vae": ["4", 2]}, "class_type": "VAEDecode"},
        "9": {"inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}, "class_type": "SaveImage"},
    }


def editing(name: str | None) -> dict[str, Any]:
    return {
        "1": {"inputs": {"image": name}, "class_type": "LoadImage"},
        "2": {"inputs": {"image": ["1", 0]}, "class_type": "ImageInvert"},
        "3": {"inputs": {"images": ["2", 0]}, "class_type": "PreviewImage"},
    }


@pytest.fixture(scope="module")
def key(offering: ServiceProcess) -> str:
    return new_key(offering, scopes=SCOPES)


# Open WebUI, engine `comfyui`: backend/open_webui/utils/images/comfyui.py and routers/images.py.


@pytest.fixture
async def web_ui(offering: ServiceProcess, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"User-Agent": "Mozilla/5.0", "Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        yield session


async def open_webui_runs(
    session: aiohttp.ClientSession, base: str, workflow: dict[str, Any], client: str
) -> list[bytes]:
    """Returns the images that it shows."""
    socket_url = f"{base.replace('http://', 'ws://')}/ws?clientId={client}"
    async with session.ws_connect(socket_url) as socket:
        async with session.post(f"{base}/prompt", json={"prompt": workflow, "client_id": client}) as response:
            id = (await response.json())["prompt_id"]
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            data = event["data"]
            if event["type"] == "executing" and data["node"] is None and data["prompt_id"] == id:
                break
    async with session.get(f"{base}/history/{id}") as response:
        outputs = (await response.json())[id]["outputs"]
    images = []
    for node, output in outputs.items():
        if workflow[node]["class_type"] in ("SaveImage", "PreviewImage"):
            for file in output.get("images", []):
                query = {name: file[name] for name in ("filename", "subfolder", "type")}
                async with session.get(f"{base}/view", params=query) as response:
                    assert response.headers["Content-Type"].split("/")[0] == "image"
                    images.append(await response.read())
    return images


async def test_open_webui_verifies_lists_and_makes(
    web_ui: aiohttp.ClientSession, offering: ServiceProcess
) -> None:
    base = offering.url
    async with web_ui.get(f"{base}/object_info") as response:
        info = await response.json()
    required = info["CheckpointLoaderSimple"]["input"]["required"]
    (name,) = [name for name in required if "_name" in name]
    assert isinstance(required[name][0], list)
    images = await open_webui_runs(web_ui, base, drawing("sd.safetensors", seed=2), str(uuid4()))
    assert [size_of(image) for image in images] == [(256, 192)] * 2


async def test_open_webui_uploads_and_edits(web_ui: aiohttp.ClientSession, offering: ServiceProcess) -> None:
    form = aiohttp.FormData()
    form.add_field("image", png(64, 48), filename=f"{uuid4()}.png", content_type=MIME)
    form.add_field("type", "input")
    async with web_ui.post(f"{offering.url}/api/upload/image", data=form) as response:
        name = (await response.json())["name"]
    images = await open_webui_runs(web_ui, offering.url, editing(name), str(uuid4()))
    assert [size_of(image) for image in images] == [(64, 48)]


# Dify, tool `comfyui`: tools/comfyui/tools/comfyui_client.py and provider/comfyui.py of its plugins.


def dify_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def dify_lists(base: str, key: str, folder: str | None = None) -> list[str]:
    path = f"{base}/models" if folder is None else f"{base}/models/{folder}"
    response = httpx.get(path, headers=dify_headers(key))
    return list(response.json()) if response.status_code == 200 else []


def dify_reads_sampler(base: str, key: str) -> dict[str, Any]:
    info = httpx.get(f"{base}/object_info/KSampler", headers=dify_headers(key)).json()
    return dict(info["KSampler"]["input"]["required"])


def dify_uploads(base: str, key: str, name: str, data: bytes) -> str:
    """Its library sends the text of `overwrite` as a file, too."""
    files: dict[str, Any] = {"image": (name, data, MIME), "overwrite": "true"}
    response = requests.post(f"{base}/upload/image", files=files, headers=dify_headers(key), timeout=60)
    return str(response.json()["name"])


async def dify_generates(base: str, key: str, workflow: dict[str, Any]) -> list[bytes]:
    """Opens the socket with the key, sends JSON without a content type, and reads the history by query."""
    client = str(uuid4())
    async with (
        httpx.AsyncClient(headers=dify_headers(key), timeout=60) as http,
        aiohttp.ClientSession(headers=dify_headers(key)) as session,
        session.ws_connect(f"{base.replace('http', 'ws')}/ws?clientId={client}") as socket,
    ):
        body = {"client_id": client, "prompt": workflow, "extra_data": {"api_key_comfy_org": ""}}
        response = await http.post(f"{base}/prompt", content=json.dumps(body))
        assert "content-type" not in response.request.headers
        accepted = response.json()
        assert "error" not in accepted, accepted
        id = accepted["prompt_id"]
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["type"] == "executing" and event["data"]["node"] is None:
                assert event["data"]["prompt_id"] == id
                break
        history = (await http.get(f"{base}/history", params={"prompt_id": id})).json()
        assert list(history) == [id]
        files = [
            file
            for output in history[id]["outputs"].values()
            for file in output.get("images", []) + output.get("gifs", [])
        ]
        return [(await http.get(f"{base}/view", params=file)).content for file in files]


async def test_dify_lists_what_there_is_and_makes(offering: ServiceProcess, key: str) -> None:
    base = offering.url
    folders = dify_lists(base, key)
    assert {"checkpoints", "loras", "upscale_models", "embeddings"} <= set(folders)
    assert {"gold.safetensors", "ink.safetensors"} <= set(dify_lists(base, key, "loras"))
    assert dify_lists(base, key, "nowhere") == []
    required = dify_reads_sampler(base, key)
    assert "euler" in required["sampler_name"][0]
    assert "normal" in required["scheduler"][0]
    images = await dify_generates(base, key, drawing("sd.safetensors", seed=3))
    assert [size_of(image) for image in images] == [(256, 192)] * 2


async def test_dify_uploads_and_replaces(offering: ServiceProcess, key: str) -> None:
    names = [dify_uploads(offering.url, key, "photo.png", png(64, side)) for side in (64, 48)]
    assert names == ["photo.png", "photo.png"]
    (image,) = await dify_generates(offering.url, key, editing("photo.png"))
    assert size_of(image) == (64, 48)


async def test_dify_checks_a_key_by_opening_the_socket(offering: ServiceProcess, key: str) -> None:
    url = f"{offering.url.replace('http', 'ws')}/ws?clientId=test123"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, headers=dify_headers(key)) as socket:
            assert (await socket.receive_json())["type"] == "status"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers=dify_headers("pk-wrong"))
    assert refused.value.status == 401
