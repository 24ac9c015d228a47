"""A model that makes animations: every format keeps the frames, or is refused before it costs anything."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.media.formats import probe_media
from tests.support.callers import new_key
from tests.support.comfyui_server import simulator
from tests.support.service import ServiceProcess, running

#: A model that makes an animation of five frames, with a node that stands for a format.
MANIFEST = """
id = "{id}"
name = "{id}"
kind = "image"
owner = "us"
architecture = "none"
description = "Five frames."
created = 2026-01-01
license = "MIT"
max_resolution = "64x48"
price_class = "sdxl-1.0"

[parameters.prompt]
type = "string"
required = true
description = "What to show."

[parameters.width]
type = "integer"
default = 64
minimum = 64
maximum = 64
step = 8
description = "Width."

[parameters.height]
type = "integer"
default = 48
minimum = 48
maximum = 48
step = 8
description = "Height."

[parameters.seed]
type = "seed"
description = "Seed."

[[outputs]]
node = "save"
media = "image"

[requires]
comfyui = "0.3.64"

[resources]
vram_bytes = 4_000_000_000
load_seconds = 2.0
step_seconds = 0.03
fixed_seconds = 0.3
"""
SAVE: dict[str, tuple[str, dict[str, Any]]] = {
    "moving-webp": ("SaveAnimatedWEBP", {"fps": 8.0, "lossless": False, "quality": 80, "method": "default"}),
    "moving-png": ("SaveAnimatedPNG", {"fps": 8.0, "compress_level": 4}),
}


#: A simulator with a node that saves animations, though neither its class nor its inputs say so.
PACK_SIMULATOR = """
import sys
from comfy_instances.simulator import nodes
from comfy_instances.simulator.__main__ import main
from comfy_instances.simulator.nodes.files.saving import save_animated_webp

def save(context, images, filename_prefix, **_):
    return save_animated_webp(
        context, images=images, filename_prefix=filename_prefix, fps=8.0, lossless=False,
        quality=80, method="default",
    )

nodes.NODE_FUNCTIONS = {**nodes.NODE_FUNCTIONS, "SaveImageAdvanced": save}
sys.exit(main())
"""
PACK_SAVE: tuple[str, dict[str, Any]] = (
    "SaveImageAdvanced",
    {"format": "png", "format.bit_depth": "8-bit", "format.input_color_space": "sRGB"},
)


def write_model(directory: Path, id: str, save_node: tuple[str, dict[str, Any]] | None = None) -> None:
    class_type, inputs = save_node or SAVE[id]
    shade = {"width": 64, "height": 48, "batch_size": 1}
    graph: dict[str, Any] = {
        str(index): {"class_type": "EmptyImage", "inputs": {**shade, "color": 40 * index}, "_meta": {}}
        for index in range(5)
    }
    joined = "0"
    for index in range(1, 5):
        pair = {"image1": [joined, 0], "image2": [str(index), 0]}
        graph[joined := f"join{index}"] = {"class_type": "ImageBatch", "inputs": pair, "_meta": {}}
    save = {"images": [joined, 0], "filename_prefix": "{{ filename_prefix }}", **inputs}
    graph["save"] = {"class_type": class_type, "inputs": save, "_meta": {}}
    (directory / id).mkdir(parents=True)
    (directory / id / "graph.json").write_text(json.dumps(graph))
    (directory / id / "model.toml").write_text(MANIFEST.format(id=id))


@pytest.fixture(scope="module")
def animated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    models = tmp_path_factory.mktemp("models")
    for id in SAVE:
        write_model(models, id)
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(models)}
    process = ServiceProcess(tmp_path_factory.mktemp("animated"), ("--simulate", "1"), environment)
    with running(process) as started:
        yield started


@pytest.fixture(scope="module")
def headers(animated: ServiceProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {new_key(animated, '5.00')}"}


def generate(service: ServiceProcess, headers: dict[str, str], model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "prompt": "waves", "seed": 1, **fields}
    return httpx.post(f"{service.url}/v1/images/generations", json=body, headers=headers, timeout=60)


def delivered(response: httpx.Response) -> bytes:
    assert response.status_code == 200, response.text
    (item,) = response.json()["data"]
    if "url" in item:
        return httpx.get(item["url"]).raise_for_status().content
    return base64.b64decode(item["b64_json"])


def balance(service: ServiceProcess, headers: dict[str, str]) -> Any:
    return httpx.get(f"{service.url}/api/v1/billing/balance", headers=headers).json()


@pytest.mark.slow
@pytest.mark.parametrize("response_format", ["b64_json", "url"])
@pytest.mark.parametrize("to", ["png", "webp"])
@pytest.mark.parametrize("model", SAVE)
def test_every_format_keeps_the_frames(
    animated: ServiceProcess, headers: dict[str, str], model: str, to: str, response_format: str
) -> None:
    made = delivered(generate(animated, headers, model, output_format=to, response_format=response_format))
    info = probe_media(made)
    assert (info.content_type, info.frames, info.width) == (f"image/{to}", 5, 64)


@pytest.mark.parametrize("response_format", ["b64_json", "url"])
@pytest.mark.parametrize("model", SAVE)
def test_the_models_own_format_is_delivered_byte_for_byte(
    animated: ServiceProcess, headers: dict[str, str], model: str, response_format: str
) -> None:
    own = delivered(generate(animated, headers, model, response_format=response_format))
    again = delivered(
        generate(
            animated,
            headers,
            model,
            response_format=response_format,
            output_format=model.removeprefix("moving-"),
        )
    )
    assert again == own
    assert probe_media(own).frames == 5


@pytest.mark.parametrize("model", SAVE)
def test_refuses_a_format_of_one_frame_before_it_costs_anything(
    animated: ServiceProcess, headers: dict[str, str], model: str
) -> None:
    before = balance(animated, headers)
    response = generate(animated, headers, model, output_format="jpeg")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "invalid_output_format",
        "output_format",
    )
    assert "must be webp or png" in error["message"]
    assert balance(animated, headers) == before


def test_a_stream_delivers_all_frames(animated: ServiceProcess, headers: dict[str, str]) -> None:
    response = generate(animated, headers, "moving-png", stream=True, output_format="webp")
    (data,) = [line.removeprefix("data: ") for line in response.text.splitlines() if '"b64_json"' in line]
    info = probe_media(base64.b64decode(json.loads(data)["b64_json"]))
    assert (info.content_type, info.frames) == ("image/webp", 5)


@pytest.mark.slow
def test_a_node_pack_s_animation_as_a_jpeg_fails_free_of_charge_after_one_run(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "pack", PACK_SAVE)
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(tmp_path / "models")}
    with simulator(tmp_path / "instance", program=PACK_SIMULATOR) as instance:
        process = ServiceProcess(tmp_path / "data", ("--instances", instance.url), environment)
        with running(process) as service:
            headers = {"Authorization": f"Bearer {new_key(service, '5.00')}"}
            before = balance(service, headers)
            for stream in (False, True):
                response = generate(service, headers, "pack", output_format="jpeg", stream=stream)
                assert "unsupported_output_format" in response.text
                assert response.status_code == 400 or stream, response.text
            assert balance(service, headers) == before
            with closing(sqlite3.connect(process.data_dir / "pixelfactory.db", timeout=30)) as db:
                kinds = db.execute("SELECT outcome FROM attempts").fetchall()
            assert kinds == [("unsupported_output_format",)] * 2
            made = delivered(generate(service, headers, "pack"))
            assert probe_media(made).frames == 5
            assert balance(service, headers) != before
