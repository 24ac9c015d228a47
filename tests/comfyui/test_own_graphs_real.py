"""Callers' own graphs on a real ComfyUI on the CPU: public templates, errors, an SDK."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from PIL import Image
from safetensors.numpy import load

from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.catalog.import_export.ui.ui_to_api import convert_ui_to_api
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.own_graphs.rejections import GraphRejected
from tests.comfyui.conftest import OpenService
from tests.support.callers import new_key
from tests.support.comfyui_server import installed_comfyui
from tests.support.installation import installed
from tests.support.polling import wait_until_sync
from tests.support.python_client import require_client, run_python
from tests.support.real_comfyui import RealServer
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess, running

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    pytest.mark.timeout(600),
]
#: Folder of the public templates that come with ComfyUI, below its environment.
TEMPLATES = "venv/lib/python*/site-packages/comfyui_workflow_templates_json/templates"
#: Templates that need no weights: they run as they are.
WEIGHTLESS = (
    "basic_datatype_conversion",
    "basic_mask_operations_and_compositing",
    "utility_image_stitch",
    "utility_interpolation_image_upscale",
)
#: Templates whose weights there are tiny ones for: they run with small sizes and two steps.
TINY = ("sd3.5_simple_example", "text_to_video_wan")
#: Further ones, for architectures without tiny weights: simulated instances run them.
SIMULATED = (
    "3d_hunyuan3d-v2.1",
    "3d_hunyuan3d_multiview_to_model",
    "3d_moge_perspective_to_mesh",
    "3d_triposplat_image_to_gaussian_splat",
    "Image_capybara_v0_1_text_to_image",
    "flux1_dev_uso_reference_image_gen",
    "flux_schnell",
    "image_lotus_depth_v1_1",
    "ltxv_image_to_video",
    "ltxv_text_to_video",
    "sd3.5_large_canny_controlnet_example",
    "sdxl_refiner_prompt_example",
    "sdxl_revision_text_prompts",
    "sdxl_simple_example",
    "sdxlturbo_example",
)
#: What makes a graph small.
SMALL = {"width": 64, "height": 64, "length": 5, "steps": 2}
LEAST_ACCEPTED = 20
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
SCOPES = ["graphs", "read", "generate", "billing"]


@cache
def templates() -> dict[str, dict[str, Any]]:
    """The public templates in API format that have nodes of the core only, by name."""
    facts, found = load_core_node_facts(), {}
    for file in sorted(
        path for folder in (INSTALL or Path()).glob(TEMPLATES) for path in folder.glob("*.json")
    ):
        data = json.loads(file.read_text("utf-8"))
        if not isinstance(data, dict) or "nodes" not in data:
            continue
        try:
            nodes = convert_ui_to_api(data, facts).graph
        except Exception:
            # What the import says of a template is tested elsewhere.
            continue
        if all(node["class_type"] in facts for node in nodes.values()):
            found[file.stem] = {
                id: {"class_type": node["class_type"], "inputs": node["inputs"]} for id, node in nodes.items()
            }
    return found


@pytest.fixture(scope="module")
def service(open_service: OpenService) -> ServiceProcess:
    return open_service.service


def test_accepts_public_templates_of_the_core() -> None:
    policy, accepted = GraphPolicy(facts=load_core_node_facts()), []
    for name, nodes in templates().items():
        try:
            policy.check(nodes)
        except GraphRejected:
            continue
        accepted.append(name)
    assert len(accepted) >= LEAST_ACCEPTED
    assert {*WEIGHTLESS, *TINY, *SIMULATED} <= set(accepted)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with running(ServiceProcess(tmp_path_factory.mktemp("simulated"), ("--simulate", "1"))) as started:
        yield started


@pytest.mark.parametrize("name", WEIGHTLESS)
async def test_runs_public_templates_without_weights(service: ServiceProcess, name: str) -> None:
    await run_template(service, templates()[name])


@pytest.mark.parametrize("name", TINY)
async def test_runs_public_templates_with_tiny_weights(service: ServiceProcess, name: str) -> None:
    nodes = {
        id: {
            **node,
            "inputs": node["inputs"] | {key: SMALL[key] for key in SMALL.keys() & node["inputs"].keys()},
        }
        for id, node in templates()[name].items()
    }
    await run_template(service, nodes)


@pytest.mark.parametrize("name", SIMULATED)
async def test_simulates_public_templates(simulated: ServiceProcess, name: str) -> None:
    await run_template(simulated, templates()[name])


async def run_template(service: ServiceProcess, nodes: dict[str, Any]) -> None:
    async with service.client(new_key(service, scopes=SCOPES)) as http:
        for node in nodes.values():
            for value in [node["inputs"].get("image")]:
                if isinstance(value, str):
                    await upload(http, value)
        async with http.post("/prompt", json={"prompt": nodes}) as response:
            accepted = await response.json()
            assert response.status == 200, accepted
        history = await finished(http, accepted["prompt_id"])
        assert history["status"]["status_str"] == "success", history["status"]
        assert history["outputs"]


async def upload(http: aiohttp.ClientSession, name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (96, 64), (200, 40, 90, 255)).save(buffer, "PNG")
    form = aiohttp.FormData({"overwrite": "true"})
    form.add_field("image", buffer.getvalue(), filename=name, content_type="image/png")
    async with http.post("/upload/image", data=form) as response:
        assert response.status == 200, await response.text()


async def finished(http: aiohttp.ClientSession, prompt_id: str) -> dict[str, Any]:
    async with asyncio.timeout(300):
        while True:
            async with http.get(f"/history/{prompt_id}") as response:
                found = await response.json()
            if found:
                return dict(found[prompt_id])
            await asyncio.sleep(0.2)


async def test_says_what_a_node_says_without_paths_of_the_server(service: ServiceProcess) -> None:
    """Two images of other sizes cannot be joined by a mask of a third one: the node raises."""
    nodes = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {
            "class_type": "ImageCrop",
            "inputs": {"image": ["1", 0], "width": 1, "height": 1, "x": 63, "y": 63},
        },
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["5", 0]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }
    async with service.client(new_key(service, scopes=SCOPES)) as http:
        async with http.post("/prompt", json={"prompt": nodes}) as response:
            accepted = await response.json()
            assert response.status == 200, accepted
        history = await finished(http, accepted["prompt_id"])
    text = json.dumps(history)
    assert "site-packages" not in text
    assert "/root/" not in text
    assert "comfyui/source" not in text


async def test_returns_files_that_are_no_media(service: ServiceProcess) -> None:
    exr = {"format": "exr", "format.bit_depth": "32-bit float", "format.input_color_space": "linear"}
    nodes = {
        "1": node("EmptyImage", width=64, height=32, batch_size=1, color=0x808080),
        "2": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "3": node("PrimitiveString", value="a,b"),
        "4": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
        "5": node("SaveLatent", samples=["2", 0], filename_prefix="folded"),
        "6": node("SaveImageAdvanced", images=["1", 0], filename_prefix="light", **exr),
        "7": node("SaveText", text=["3", 0], filename_prefix="cells", format="csv"),
        "8": node("PreviewAudio", audio=["4", 0]),
    }
    async with service.client(new_key(service, scopes=SCOPES)) as http:
        async with http.post("/prompt", json={"prompt": nodes}) as response:
            accepted = await response.json()
            assert response.status == 200, accepted
        history = await finished(http, accepted["prompt_id"])
        assert history["status"]["status_str"] == "success", history["status"]
        outputs = history["outputs"]
        assert outputs["7"]["text"] == ["a,b"]
        assert [file["filename"] for file in outputs["7"]["files"]] == ["cells_00001_.csv"]
        files = [outputs["5"]["latents"][0], outputs["6"]["images"][0], outputs["8"]["audio"][0]]
        data = []
        for file in files:
            async with http.get("/view", params=file) as response:
                data.append(await response.read())
    assert [Path(file["filename"]).suffix for file in files] == [".latent", ".exr", ".flac"]
    assert load(data[0])["latent_tensor"].shape == (1, 4, 8, 8)
    assert [data[1][:4], data[2][:4]] == [b"v/1\x01", b"fLaC"]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.mark.slow
def test_an_api_process_refuses_what_no_instance_can_run(
    comfyui: RealServer, s3: S3Server, tmp_path: Path
) -> None:
    """The scheduler's instances decide, as in a single process."""
    with installed(tmp_path, s3) as installation:
        scheduler = installation.prepare("scheduler", "scheduler", "--instances", comfyui.url)
        scheduler.start()
        api = installation.api("api")
        headers = {"Authorization": f"Bearer {new_key(api, scopes=SCOPES)}"}
        with httpx.Client(base_url=api.url, headers=headers, timeout=60) as http:
            wait_until_sync(lambda: http.get("/models/checkpoints").json() != [])
            assert CHECKPOINT in http.get("/models/checkpoints").json()
            assert http.get("/models/embeddings").json() == []
            assert http.get("/models/nothing").status_code == 404
            refused = http.post("/prompt", json={"prompt": loading("nowhere.safetensors")})
            assert refused.status_code == 400, refused.text
            (error,) = refused.json()["node_errors"]["1"]["errors"]
            assert error["type"] == "value_not_in_list"
            assert http.post("/prompt", json={"prompt": loading(CHECKPOINT)}).status_code == 200


def loading(checkpoint: str) -> dict[str, Any]:
    """A graph that loads a checkpoint, and saves what its VAE makes of nothing."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", 2]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }


SDK = """
import json, os, time
from comfy_sdk import Comfy, Workflow
client = Comfy(api_key=os.environ["KEY"])
job = client.submit(Workflow(json.loads(os.environ["GRAPH"])))
names = [type(event).__name__ for event in job.events()]
print(job.result().status, "OutputReady" in names, names[-1])
"""


async def test_python_sdk_runs_on_comfyui(service: ServiceProcess, tmp_path: Path) -> None:
    require_client("comfy_sdk")
    nodes = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 9}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    environment = {
        "COMFY_BASE_URL": service.url,
        "KEY": new_key(service, scopes=SCOPES),
        "GRAPH": json.dumps(nodes),
    }
    printed = await asyncio.to_thread(run_python, tmp_path, SDK, **environment)
    assert printed.split() == ["succeeded", "True", "StatusChange"]
