"""NVFP4 files of our making in our templates, on a real ComfyUI: near the pictures of the originals."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from orchestrator.catalog import Catalog, Model
from orchestrator.weights.file_checks import inspect_numbers, inspect_weight_file, read_safetensors_header
from orchestrator.weights.quantized_checks import find_quantized_layers
from scripts.tiny.formats import write_safetensors
from scripts.tiny.networks import clip_l, stable_diffusion_3
from tests.support.cli import command
from tests.support.comfyui_server import installed_comfyui
from tests.support.drafts import node, saving, write
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT
from tests.support.weight_files import weight
from tests.support.weight_host import hosting

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

CATALOG = Catalog.load(ROOT / "workflows")
SCRIPT = ROOT / "tests" / "support" / "quantizing.py"
#: Largest mean difference of two pictures, of 255, and of the output of the FLUX network, relative to it.
PICTURE_LIMIT, OUTPUT_LIMIT = 12.0, 0.15
#: What the template of Z-Image loads.
Z_IMAGE = "z_image_turbo_bf16.safetensors"
SMALL = {"width": 256, "height": 256, "steps": 4, "seed": 3}


def quantize(source: Path, target: Path) -> None:
    done = command("weights", "quantize", str(source), str(target), "--format", "nvfp4", "--overwrite")
    assert done.returncode == 0, done.stderr[-2000:]


async def run(server: RealServer, graph: dict[str, Any], node_id: str) -> np.ndarray[Any, Any]:
    """Run a graph, and return the first image that a node has saved."""
    async with aiohttp.ClientSession(server.url) as http:
        async with http.post("/prompt", json={"prompt": graph}) as response:
            answer = await response.json()
            assert response.status == 200, answer

        async def history() -> dict[str, Any]:
            async with http.get(f"/history/{answer['prompt_id']}") as response:
                return dict(await response.json())

        entry = (await poll(history, bool, seconds=200))[answer["prompt_id"]]
        assert entry["status"]["status_str"] == "success", entry["status"]
        async with http.get("/view", params=entry["outputs"][node_id]["images"][0]) as response:
            return np.asarray(Image.open(BytesIO(await response.read())).convert("RGB"), np.float32)


def with_frames(graph: dict[str, Any]) -> dict[str, Any]:
    """Also save what is decoded, frame by frame, without the loss of a video."""
    decode = next(name for name, node in graph.items() if node["class_type"].startswith("VAEDecode"))
    inputs = {"images": [decode, 0], "filename_prefix": "frames"}
    return {**graph, "frames": {"class_type": "SaveImage", "inputs": inputs}}


async def pictures_of(
    server: RealServer, model: Model, files: dict[str, str], **params: Any
) -> np.ndarray[Any, Any]:
    """Run a template with other weights by slot."""
    graph = model.render_graph(model.example_params(**{**SMALL, **params}), filename_prefix="nvfp4")
    text = json.dumps(graph)
    for old, new in files.items():
        assert json.dumps(old) in text
        text = text.replace(json.dumps(old), json.dumps(new))
    return await run(server, with_frames(json.loads(text)), "frames")


def difference(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    assert first.std() > 1, "the picture has content"
    return float(np.abs(first - second).mean())


async def test_stable_diffusion_35_in_nvfp4_draws_nearly_the_same(comfyui: RealServer) -> None:
    folder = comfyui.base / "models" / "checkpoints"
    file = "sd3.5_large_fp8_scaled.safetensors"
    await asyncio.to_thread(quantize, folder / file, folder / "sd3_nvfp4.safetensors")
    model = CATALOG["sd-3.5-large"]
    before = await pictures_of(comfyui, model, {})
    after = await pictures_of(comfyui, model, {file: "sd3_nvfp4.safetensors"})
    assert 0 < difference(before, after) < PICTURE_LIMIT


async def test_wan_22_in_nvfp4_films_nearly_the_same(comfyui: RealServer) -> None:
    """Both experts, by the rows that a Blackwell card would choose."""
    model = CATALOG["wan2.2-i2v-14b"]
    folder = comfyui.base / "models"
    names = {}
    for row in model.select_weights(("fp8",)):
        if row.slot in ("high", "low"):
            narrow = next(w for w in model.select_weights(("nvfp4",)) if w.slot == row.slot)
            assert narrow.made_by == "quantize"
            (folder / narrow.path).unlink()
            await asyncio.to_thread(quantize, folder / row.path, folder / narrow.path)
            names[row.file] = narrow.file
    before = await pictures_of(comfyui, model, {}, num_frames=5)
    after = await pictures_of(comfyui, model, names, num_frames=5)
    assert 0 < difference(before, after) < PICTURE_LIMIT


@pytest.fixture
def z_image(tmp_path: Path) -> Iterator[RealServer]:
    """A server with Z-Image cut down in depth, which keeps it in 16 bits: 1.1 billion numbers."""
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    models = tmp_path / "comfyui" / "models"
    for folder in ("diffusion_models", "text_encoders", "vae"):
        (models / folder).mkdir(parents=True)
    write_safetensors(models / "text_encoders" / "qwen_3_4b.safetensors", clip_l())
    prefix = "first_stage_model."
    vae = {
        name.removeprefix(prefix): each
        for name, each in stable_diffusion_3().items()
        if name.startswith(prefix)
    }
    write_safetensors(models / "vae" / "ae.safetensors", vae)
    run_in_comfyui(install, "make", "z-image-cut", str(models / "diffusion_models" / Z_IMAGE))
    server = RealServer(install, tmp_path / "comfyui", "--bf16-unet")
    server.start()
    yield server
    server.kill()
    shutil.rmtree(models)  # gigabytes


@pytest.mark.timeout(1200)
async def test_z_image_in_nvfp4_draws_nearly_the_same(z_image: RealServer) -> None:
    """Our template and the real loader; the text encoder is small: the real one has four billion numbers."""
    folder = z_image.base / "models" / "diffusion_models"
    model = CATALOG["z-image-turbo"]
    narrow = next(weight for weight in model.select_weights(("nvfp4",)) if weight.slot == "unet").file
    await asyncio.to_thread(quantize, folder / Z_IMAGE, folder / narrow)
    layers = find_quantized_layers(read_safetensors_header(folder / narrow), folder / narrow)
    assert set(layers.formats.values()) == {"nvfp4", "float8_e4m3fn"}
    before = await pictures_of(z_image, model, {}, steps=2)
    after = await pictures_of(z_image, model, {Z_IMAGE: narrow}, steps=2)
    assert 0 < difference(before, after) < PICTURE_LIMIT
    scrambled = (folder / narrow).rename(folder / "scrambled.safetensors")
    await asyncio.to_thread(scramble_scales, scrambled)
    problems = await asyncio.to_thread(inspect_numbers, scrambled)
    assert any("other scales than the file was made with" in problem for problem in problems)
    wrong = await pictures_of(z_image, model, {Z_IMAGE: scrambled.name}, steps=2)
    assert difference(before, wrong) > 2 * difference(before, after)


def scramble_scales(file: Path) -> None:
    """Reverse the scales of the blocks of each layer; none of them is invalid by itself."""
    with file.open("r+b") as opened:
        for name, info in read_safetensors_header(file).tensors.items():
            if name.endswith(".weight_scale") and info.dtype == "F8_E4M3":
                opened.seek(info.start)
                data = opened.read(info.end - info.start)
                opened.seek(info.start)
                opened.write(data[::-1])


def run_in_comfyui(install: Path, *arguments: str) -> str:
    """Run the script by ComfyUI's Python; return what it prints."""
    done = subprocess.run(
        [str(install / "venv" / "bin" / "python"), str(SCRIPT), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(install / "source")])},
        cwd=install / "source",
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_flux_network_in_nvfp4_computes_nearly_the_same(tmp_path: Path) -> None:
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed")
    wide, narrow = tmp_path / "flux.safetensors", tmp_path / "flux_nvfp4.safetensors"
    run_in_comfyui(install, "make", "flux", str(wide))
    quantize(wide, narrow)
    said = run_in_comfyui(install, str(wide), str(narrow), "1,16,16,16", "1,16,64", "1,64")
    found = json.loads(said.splitlines()[-1])
    assert 0 < found["difference"] < OUTPUT_LIMIT
    assert {layer["format"] for layer in found["layers"].values()} == {"nvfp4", "float8_e4m3fn"}


async def test_pull_downloads_the_source_and_makes_the_file(tmp_path: Path) -> None:
    if installed_comfyui() is None:
        pytest.skip("no ComfyUI is installed")
    wide = tmp_path / "wide.safetensors"
    matrix = np.random.default_rng(1).standard_normal((128, 128)).astype(np.float16)
    write_safetensors(wide, {"blocks.0.a.weight": matrix, "blocks.0.a.bias": matrix[0]})
    data = wide.read_bytes()
    source = weight(data, path="diffusion_models/wide.safetensors", dtype="fp16")
    row = {
        "slot": "unet",
        "path": "diffusion_models/narrow.safetensors",
        "bytes": 10_000,
        "dtype": "nvfp4",
        "license": "MIT",
        "made_by": "quantize",
        "recipe": "generic",
        "source": source.model_dump(include={"path", "url", "sha256", "bytes", "dtype"}),
    }
    loader = node("UNETLoader", unet_name="{{ weights.unet }}", weight_dtype="default")
    write(tmp_path / "models" / "draft", saving(unet=loader), weights=[row])
    settings = {
        "PIXELFACTORY_WORKFLOWS_DIR": str(tmp_path / "models"),
        "PIXELFACTORY_MODELS_DIR": str(tmp_path / "weights"),
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    }
    made, kept = (
        tmp_path / "weights" / "diffusion_models" / f"{name}.safetensors" for name in ("narrow", "wide")
    )

    async def weights(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(lambda: command("weights", *arguments, **settings))
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    async with hosting(data) as host:
        settings["HF_ENDPOINT"] = host.server.url
        nowhere = settings | {"PIXELFACTORY_COMFYUI_DIR": str(tmp_path)}
        failed = await asyncio.to_thread(lambda: command("weights", "pull", "draft", **nowhere))
        assert (failed.returncode, "pixelfactory comfyui install" in failed.stderr) == (1, True), (
            failed.stderr
        )
        code, text = await weights("pull", "draft", "--keep-sources")
        assert (code, "made 1 file(s)" in text) == (0, True), text
        assert kept.is_file()
        assert len(host.server.requests) == 1, "what was downloaded before the failure is not fetched again"
    parsed = next(iter(Catalog.load(tmp_path / "models"))).manifest.weights[0]
    assert inspect_weight_file(parsed, made) + inspect_numbers(made) == []
    code, text = await weights("verify", "draft", "--json")
    assert (code, '"problems": {}' in text, '"unproven": []' in text) == (0, True, True), text
    code, text = await weights("pull", "draft", "--remove-sources")
    assert (code, kept.exists(), made.exists()) == (0, False, True), text
    made.write_bytes(made.read_bytes()[:-1] + b"x")
    assert (await weights("verify", "draft"))[0] == 1
