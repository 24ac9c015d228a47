"""The clients of the field, unchanged, on a real ComfyUI on the CPU: progress, previews, results, errors.

Each starts programs and samples images for a minute. Those whose walk tests/integration makes on simulated
instances with the same client are marked slow.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.conftest import OpenService
from tests.support.callers import new_key
from tests.support.comfyui_server import installed_comfyui
from tests.support.images import png, png_with_hole
from tests.support.programs import run_command
from tests.support.python_client import require_client

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(
        installed_comfyui() is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"
    ),
    pytest.mark.timeout(600),
]
SCOPES = ["graphs", "read", "generate", "billing"]
#: Of the tiny checkpoint, in a model of ours and in callers' graphs.
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
#: Enough to be seen sampling by a client that begins to listen after its request.
STEPS = 12
#: A sampler on a CPU, and programs that wait for it, beside other work.
SECONDS = 400


def drawn(seed: int, steps: int = STEPS) -> dict[str, Any]:
    """A graph with a sampler, in API format."""
    sampler = {
        "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0],
        "seed": seed, "steps": steps, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal",
        "denoise": 1.0,
    }  # fmt: skip
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": sampler},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "fox"}},
    }


def inverted() -> dict[str, Any]:
    """A graph without weights that loads a file."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "one.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
    }


def failing() -> dict[str, Any]:
    """A graph whose last node raises: it gets an image of sixteen channels."""
    return {
        "1": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0], "vae": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }


@pytest.fixture
def variables(open_service: OpenService, tmp_path: Path) -> dict[str, str]:
    """What the programs read; each has an account of its own."""
    url = open_service.front.url
    return {
        "URL": url,
        "COMFY_BASE_URL": url,
        "KEY": new_key(open_service.service, "20.00", scopes=SCOPES),
        "DRAWN": json.dumps(drawn(1)),
        "LOADING": json.dumps(inverted()),
        "FAILING": json.dumps(failing()),
        **open_service.trust,
    }


def write_images(directory: Path) -> None:
    (directory / "one.png").write_bytes(png(256, 192, (10, 200, 30)))
    (directory / "mask.png").write_bytes(png_with_hole(256, 192))


def run(directory: Path, script: str, variables: dict[str, str]) -> dict[str, Any]:
    """What a Python program reports in its last line."""
    (directory / "script.py").write_text(script)
    return report(directory, (sys.executable, "script.py"), variables)


def run_js(project: Path, script: str, variables: dict[str, str]) -> dict[str, Any]:
    (project / "script.mjs").write_text(script)
    return report(project, ("node", "script.mjs"), variables)


def report(directory: Path, command: tuple[str, ...], variables: dict[str, str]) -> dict[str, Any]:
    write_images(directory)
    printed = run_command(directory, command, variables, seconds=SECONDS)
    return dict(json.loads(printed.splitlines()[-1]))


# Callers' own graphs

COMFY_SDK = """
import io, json, os
from collections import Counter
from PIL import Image
from comfy_sdk import Comfy, JobFailed, Workflow
client = Comfy(api_key=os.environ["KEY"])
graph = json.loads(os.environ["DRAWN"])
job = client.submit(Workflow(graph), metadata={"shop": "one"})
seen, previews, steps = Counter(), [], []
for event in job.events():
    name = type(event).__name__
    seen[name] += 1
    if name == "Preview":
        previews.append(Image.open(io.BytesIO(event.data)).size)
    if name == "Progress" and event.steps:
        steps.append([event.current_node, event.step, event.steps])
reported = {"seen": seen, "previews": previews, "steps": steps, "status": job.result().status}
(output,) = job.outputs
reported["size"] = Image.open(io.BytesIO(output.to_bytes())).size
reported["named"] = [output.name, output.node_id]
reported["same"] = client.jobs.get(job.id).get_workflow().graph == graph
flow = Workflow(json.loads(os.environ["LOADING"]))
flow.set_input("1", "image", client.assets.from_file("one.png"))
done = client.run(flow)
(output,) = done.outputs
reported["pixel"] = Image.open(io.BytesIO(output.to_bytes())).convert("RGB").getpixel((9, 9))
flow.set_input("1", "image", client.assets.get(output.id))
(back,) = client.run(flow).outputs
reported["back"] = Image.open(io.BytesIO(back.to_bytes())).convert("RGB").getpixel((9, 9))
try:
    client.run(Workflow(json.loads(os.environ["FAILING"])))
except JobFailed as failure:
    reported["failed"] = [failure.error.code, failure.error.node_id, failure.error.class_type]
graph["4"]["inputs"] |= {"steps": 200, "seed": 2}
long = client.submit(Workflow(graph))
for event in long.events():
    if type(event).__name__ == "Progress" and event.step:
        long.cancel()
        break
try:
    long.result()
except JobFailed:
    reported["cancelled"] = [client.jobs.get(long.id).status, long.cancel() and long.status]
reported["listed"] = [one.id == job.id for one in client.list_jobs(metadata={"shop": "one"})]
print(json.dumps(reported))
"""


@pytest.mark.slow
def test_comfys_python_sdk(variables: dict[str, str], tmp_path: Path) -> None:
    require_client("comfy_sdk")
    told = run(tmp_path, COMFY_SDK, variables)
    assert told["status"] == "succeeded"
    assert told["previews"]
    assert all(width == height > 0 for width, height in told["previews"])
    assert all((node, total) == ("4", STEPS) for node, _, total in told["steps"])
    counts = [step for _, step, _ in told["steps"]]
    assert counts == sorted(counts)
    assert told["seen"]["OutputReady"] == 1
    assert (told["size"], told["named"], told["same"]) == ([256, 256], ["fox_00001_.png", "6"], True)
    assert told["pixel"] == pytest.approx([245, 55, 225], abs=1)
    assert told["back"] == pytest.approx([10, 200, 30], abs=2)
    assert told["failed"] == ["node_execution_error", "4", "SaveImage"]
    assert told["cancelled"][0] == "canceled"
    assert told["listed"] == [True]


COMFY_JS = """
import fs from "node:fs";
import { Comfy, Workflow } from "@comfyorg/sdk";
const client = new Comfy({ apiKey: process.env.KEY });
const job = await client.submit(new Workflow(JSON.parse(process.env.DRAWN)));
const counts = {};
for await (const event of job.events()) {
  counts[event.kind] = (counts[event.kind] ?? 0) + 1;
}
const done = await job.result();
const bytes = await done.outputs[0].toBytes();
const asset = client.assets.fromFile("one.png");
const flow = new Workflow(JSON.parse(process.env.LOADING));
flow.setInput("1", "image", asset);
const loaded = await client.run(flow);
let failed;
try { await client.run(new Workflow(JSON.parse(process.env.FAILING))); }
catch (error) { failed = [error.constructor.name, error.code]; }
console.log(JSON.stringify({
  counts, status: done.status, name: done.outputs[0].name, whole: bytes.length === done.outputs[0].sizeBytes,
  loaded: loaded.status, failed,
}));
"""


@pytest.mark.slow
def test_comfys_typescript_sdk(variables: dict[str, str], comfy_packages: Path) -> None:
    told = run_js(comfy_packages, COMFY_JS, variables)
    assert (told["status"], told["name"], told["whole"]) == ("succeeded", "fox_00001_.png", True)
    assert told["counts"]["preview"] >= 1
    assert told["counts"]["progress"] >= 1
    assert told["counts"]["outputReady"] == 1
    assert told["loaded"] == "succeeded"
    assert told["failed"] == ["JobFailed", "node_execution_error"]


COMFYUI_SDK = """
import fs from "node:fs";
import { ComfyApi, CallWrapper, PromptBuilder } from "@saintno/comfyui-sdk";
const credentials = { type: "bearer_token", token: process.env.KEY };
const api = new ComfyApi(process.env.URL, undefined, { credentials });
await api.init().waitForReady();
const told = { progress: [], previews: [], outputs: [] };
const run = (builder) => new Promise((done, fail) => new CallWrapper(api, builder)
  .onStart(() => { told.started = true; })
  .onProgress((step) => told.progress.push([step.node, step.value, step.max]))
  .onPreview((image) => told.previews.push([image.type, image.size > 0]))
  .onOutput((name) => told.outputs.push(name))
  .onFinished(done).onFailed(fail).run());
const sampled = new PromptBuilder(JSON.parse(process.env.DRAWN), ["seed"], ["images"])
  .setInputNode("seed", "4.inputs.seed").setOutputNode("images", "6").input("seed", 77);
const file = (await run(sampled)).images.images[0];
told.size = (await api.getImage(file)).size;
told.file = file.filename;
const uploaded = await api.uploadImage(fs.readFileSync("one.png"), "photo.png");
const loading = new PromptBuilder(JSON.parse(process.env.LOADING), ["image"], ["images"])
  .setInputNode("image", "1.inputs.image").setOutputNode("images", "3")
  .input("image", uploaded.info.filename);
told.loaded = (await run(loading)).images.images.length;
const failing = new PromptBuilder(JSON.parse(process.env.FAILING), [], ["images"])
  .setOutputNode("images", "4");
try { await run(failing); } catch (error) { told.failed = error.name; }
told.checkpoints = await api.getCheckpoints();
told.queue = await api.getQueue();
told.history = Object.keys((await api.getHistories(10))).length;
console.log(JSON.stringify(told));
process.exit(0);
"""


@pytest.mark.slow
def test_a_client_of_comfyui_itself(variables: dict[str, str], comfy_packages: Path) -> None:
    told = run_js(comfy_packages, COMFYUI_SDK, variables)
    assert told["started"]
    assert all((node, total) == ("4", STEPS) for node, _, total in told["progress"])
    assert told["progress"]
    assert told["previews"]
    assert all(preview == ["image/jpeg", True] for preview in told["previews"])
    assert "images" in told["outputs"]
    assert (told["file"], told["size"] > 0, told["loaded"]) == ("fox_00001_.png", True, 1)
    assert told["failed"]
    assert CHECKPOINT in told["checkpoints"]
    assert told["queue"] == {"queue_running": [], "queue_pending": []}
    assert told["history"] >= 3


@pytest.fixture(scope="module")
def comfy_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Comfy's command line in an environment of its own: it is under GPL, and no dependency of ours."""
    folder = tmp_path_factory.mktemp("comfy-cli")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=200)
        install = [
            str(folder / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "comfy-cli",
        ]
        subprocess.run(install, check=True, timeout=400, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs a package index with comfy-cli: {error}")
    return folder / "bin" / "comfy"


@pytest.mark.slow
def test_comfys_command_line_in_cloud_mode(
    variables: dict[str, str], comfy_cli: Path, tmp_path: Path
) -> None:
    write_images(tmp_path)
    (tmp_path / "drawn.json").write_text(json.dumps(drawn(5, steps=4)))
    (tmp_path / "loading.json").write_text(json.dumps(inverted()))
    (tmp_path / "failing.json").write_text(json.dumps(failing()))
    settings = {
        **variables,
        "HOME": str(tmp_path),
        "COMFY_CLOUD_BASE_URL": variables["URL"],
        "COMFY_CLOUD_API_KEY": variables["KEY"],
        "DO_NOT_TRACK": "1",
    }

    def comfy(*words: str, code: int = 0) -> dict[str, Any]:
        command = (str(comfy_cli), "--skip-prompt", "--json", "--where", "cloud", *words)
        printed = run_command(tmp_path, command, settings, seconds=SECONDS, code=code)
        return dict(json.loads(printed.splitlines()[-1]))

    done = comfy("run", "--workflow", "drawn.json", "--wait")["data"]
    assert (done["status"], list(done["outputs_by_node"])) == ("completed", ["6"])
    saved = comfy("download", done["prompt_id"], "--out-dir", "results")["data"]["files"]
    assert Path(saved[0]["path"]).read_bytes().startswith(b"\x89PNG")
    assert comfy("upload", "one.png")["data"]["uploads"][0]["cloud_name"] == "one.png"
    loaded = comfy("run", "--workflow", "loading.json", "--wait")["data"]
    assert loaded["status"] == "completed"
    assert comfy("run", "--prompt", "a cat", "--set", "steps=2", "--wait")["data"]["status"] == "completed"
    failed = comfy("run", "--workflow", "failing.json", "--wait", code=1)
    assert (failed["ok"], failed["error"]["code"]) == (False, "execution_error")
    why = comfy("jobs", "status", failed["error"]["details"]["prompt_id"])
    assert "SaveImage" in json.dumps(why)
    listed = comfy("jobs", "ls")["data"]["jobs"]
    statuses = {row["prompt_id"]: row["status"] for row in listed}
    assert statuses[done["prompt_id"]] == "completed"
    assert comfy("jobs", "status", done["prompt_id"])["data"]["outputs"] == done["outputs"]
    assert comfy("jobs", "cancel", done["prompt_id"])["data"]["response"] == {"cancelled": False}
    folders = comfy("model", "list-folders")
    assert "checkpoints" in json.dumps(folders["data"])
    assert CHECKPOINT in json.dumps(comfy("model", "list-folder", "checkpoints")["data"])


# Models of the service

REPLICATE = """
import io, json, os, time
import httpx
from PIL import Image
from replicate.client import Client
client = Client(api_token=os.environ["KEY"], base_url=os.environ["URL"])
def opened(file):
    return Image.open(io.BytesIO(file.read()))
small = {"prompt": "a fox", "width": 256, "height": 256}
two = client.run("pixel-factory/test-image", input={**small, "num_outputs": 2, "seed": 0xFE1C80})
told = {"two": [[opened(file).size, opened(file).convert("RGB").getpixel((1, 1))] for file in two]}
made = client.predictions.create(model="stability-ai/sd-1.5", input={**small, "num_inference_steps": STEPS})
shares = []
while made.status in ("starting", "processing"):
    made.reload()
    if made.progress:
        shares.append(made.progress.percentage)
    time.sleep(0.05)
told["made"] = [made.status, len(made.output), shares]
events = list(client.stream("stability-ai/sd-1.5", input={**small, "num_inference_steps": 4}))
told["events"] = [[event.event.value, str(event.data)] for event in events]
slow = {"prompt": "a fox", "width": 512, "height": 512, "num_inference_steps": 100}
slow = client.predictions.create(model="stability-ai/sd-1.5", input=slow)
while not (slow.progress and slow.progress.percentage):
    slow.reload()
slow.cancel()
told["cancelled"] = [slow.status, slow.completed_at is not None]
(larger,) = client.run("pixel-factory/4x-ultrasharp", input={"image": open("one.png", "rb")})
told["larger"] = opened(larger).size
film = client.run("pixel-factory/test-video", input={"prompt": "x", "num_frames": 17, "size": "320x256"})
told["film"] = film.read()[4:8].decode()
print(json.dumps(told))
""".replace("STEPS", str(STEPS))


@pytest.mark.slow
def test_replicates_python_client(variables: dict[str, str], tmp_path: Path) -> None:
    told = run(tmp_path, REPLICATE, variables)
    assert told["two"] == [[[256, 256], [0xFE, 0x1C, 0x80]], [[256, 256], [0xFE, 0x1C, 0x81]]]
    status, count, shares = told["made"]
    assert (status, count) == ("succeeded", 1)
    assert any(0 < share < 1 for share in shares)
    kinds = [kind for kind, _ in told["events"]]
    assert (kinds[-1], kinds.count("output")) == ("done", 1)
    assert any("2/4" in data for kind, data in told["events"] if kind == "logs")
    assert told["cancelled"] == ["canceled", True]
    assert (told["larger"], told["film"]) == ([1024, 768], "ftyp")


HOSTED_JS = """
import fs from "node:fs";
import Replicate from "replicate";
import { fal } from "@fal-ai/client";
import { experimental_generateImage as generateImage } from "ai";
import { createReplicate } from "@ai-sdk/replicate";
import { createFal } from "@ai-sdk/fal";
const [url, key] = [process.env.URL, process.env.KEY];
const told = {};
const replicate = new Replicate({ baseUrl: `${url}/v1`, auth: key });
const seen = [];
const input = { prompt: "a fox", width: 256, height: 256, num_inference_steps: 4 };
const wait = { mode: "poll", interval: 50 };
const [file] = await replicate.run("stability-ai/sd-1.5", { input, wait }, (one) => seen.push(one.status));
told.replicate = [(await file.blob()).type, seen.at(-1)];
const hosts = { "https://fal.run": `${url}/fal`, "https://queue.fal.run": `${url}/fal/queue`,
                "https://rest.fal.ai": `${url}/fal` };
fal.config({ credentials: key, suppressLocalCredentialsWarning: true, requestMiddleware: async (request) => {
  const [from, to] = Object.entries(hosts).find(([host]) => request.url.startsWith(host + "/")) ?? ["", ""];
  return { ...request, url: to + request.url.slice(from.length) };
} });
const small = { prompt: "a fox", image_size: { width: 256, height: 256 }, num_inference_steps: STEPS };
const logs = [];
const done = await fal.subscribe("pixel-factory/sd-1.5", { input: small, logs: true, pollInterval: 50,
  onQueueUpdate: (update) => logs.push([update.status, (update.logs ?? []).map((line) => line.message)]) });
told.subscribed = [done.data.images.length, logs];
const stream = await fal.stream("pixel-factory/sd-1.5", { input: small, connectionMode: "server" });
const kinds = [];
for await (const event of stream) kinds.push(event.images[0].url.slice(0, 15));
told.streamed = [kinds.slice(0, -1), (await stream.done()).images[0].url.startsWith(url)];
const photo = new File([fs.readFileSync("one.png")], "one.png", { type: "image/png" });
const larger = await fal.run("pixel-factory/4x-ultrasharp", { input: { image_url: photo } });
told.larger = [larger.data.image.width, larger.data.image.height];
const models = [createReplicate({ baseURL: `${url}/v1`, apiToken: key }).image("pixel-factory/test-image"),
                createFal({ baseURL: `${url}/fal`, apiKey: key }).image("pixel-factory/test-image")];
told.made = [];
for (const model of models) {
  const { image } = await generateImage({ model, prompt: "a fox", size: "512x256", seed: 7 });
  told.made.push([image.mediaType, image.uint8Array.length > 0]);
}
console.log(JSON.stringify(told));
""".replace("STEPS", str(STEPS))


@pytest.mark.slow
def test_javascript_clients_of_hosts(variables: dict[str, str], node_project: Path) -> None:
    told = run_js(node_project, HOSTED_JS, variables)
    assert told["replicate"] == ["image/png", "succeeded"]
    count, updates = told["subscribed"]
    assert count == 1
    assert "IN_PROGRESS" in [status for status, _ in updates]
    assert any(f"/{STEPS}" in line for _, lines in updates for line in lines)
    previews, is_linked = told["streamed"]
    assert previews
    assert set(previews) == {"data:image/jpeg"}
    assert is_linked
    assert told["larger"] == [1024, 768]
    assert [kind for kind, _ in told["made"]] == ["image/png"] * 2


FAL = """
import io, json, os
import fal_client, httpx
from PIL import Image
fal_client.client.REST_URL = os.environ["URL"] + "/fal"
small = {"prompt": "a fox", "image_size": {"width": 256, "height": 256}, "num_inference_steps": STEPS}
updates = []
done = fal_client.subscribe("pixel-factory/sd-1.5", small, with_logs=True, on_queue_update=updates.append)
told = {"size": Image.open(io.BytesIO(httpx.get(done["images"][0]["url"]).content)).size}
told["lines"] = [line["message"] for one in updates for line in getattr(one, "logs", None) or []]
events = fal_client.stream("pixel-factory/sd-1.5", small)
told["previews"] = [event["images"][0]["url"][:15] for event in events]
url = fal_client.upload_file("one.png", repository="fal", fallback_repository=[])
told["larger"] = fal_client.run("pixel-factory/4x-ultrasharp", {"image_url": url})["image"]["width"]
handle = fal_client.submit("pixel-factory/sd-1.5", {**small, "num_inference_steps": 100})
handle.cancel()
told["cancelled"] = fal_client.status("pixel-factory/sd-1.5", handle.request_id).error_type
print(json.dumps(told))
""".replace("STEPS", str(STEPS))


@pytest.mark.slow
def test_fals_python_client(variables: dict[str, str], tmp_path: Path) -> None:
    host = variables["URL"].removeprefix("https://")
    hosts = {"FAL_RUN_HOST": f"{host}/fal", "FAL_QUEUE_RUN_HOST": f"{host}/fal/queue"}
    told = run(tmp_path, FAL, {**variables, **hosts, "FAL_KEY": variables["KEY"]})
    assert told["size"] == [256, 256]
    assert any(f"/{STEPS}" in line for line in told["lines"])
    *previews, last = told["previews"]
    assert previews
    assert set(previews) == {"data:image/jpeg"}
    assert last.startswith("https://")
    assert told["larger"] == 1024
    assert told["cancelled"] == "cancelled"


A1111 = """
import io, json, os, threading
from base64 import b64decode
import webuiapi
from PIL import Image
def connect():
    where = os.environ["URL"] + "/sdapi/v1"
    return webuiapi.WebUIApi(baseurl=where, username="any", password=os.environ["KEY"])
api, other, told = connect(), connect(), {}
api.util_set_model("sd-1.5")
kept = []
small = {"width": 256, "height": 256, "steps": STEPS, "seed": 7}
drawing = threading.Thread(target=lambda: kept.append(api.txt2img(prompt="a fox", **small)))
drawing.start()
seen, previews = [], []
while drawing.is_alive():
    progress = other.get_progress()
    state = progress["state"]
    seen.append([progress["progress"], state["sampling_step"], state["sampling_steps"]])
    if progress["current_image"]:
        previews.append(Image.open(io.BytesIO(b64decode(progress["current_image"]))).size)
drawing.join()
(drawn,) = kept
told["drawn"] = [drawn.image.size, drawn.info["sd_model_name"], seen, previews]
told["text"] = api.png_info(drawn.image).info.splitlines()[0]
photo = Image.open("one.png").convert("RGB")
mask = Image.new("L", photo.size, 0)
mask.paste(255, (96, 64, 160, 128))
chosen = {"override_settings": {"sd_model_checkpoint": "test-fill"}}
filled = api.img2img(images=[photo], mask_image=mask, prompt="a hat", width=256, height=192, seed=0xFF,
                     mask_blur=0, **chosen).image.convert("RGB")
told["filled"] = [filled.size, filled.getpixel((4, 4)), filled.getpixel((128, 96))]
larger = api.extra_single_image(image=photo, upscaler_1="4x-ultrasharp", upscaling_resize=2)
told["larger"] = larger.image.size
failure = []
def draw_long():
    try:
        api.txt2img(prompt="a fox", width=512, height=512, steps=100)
    except Exception as error:
        failure.append(type(error).__name__)
drawing = threading.Thread(target=draw_long)
drawing.start()
while not other.get_progress()["state"]["sampling_step"]:
    pass
other.interrupt()
drawing.join()
told["interrupted"] = failure
print(json.dumps(told))
""".replace("STEPS", str(STEPS))


@pytest.mark.slow
def test_the_client_of_the_web_ui(variables: dict[str, str], tmp_path: Path) -> None:
    require_client("webuiapi")
    told = run(tmp_path, A1111, variables)
    size, model, seen, previews = told["drawn"]
    assert (size, model) == ([256, 256], "sd-1.5")
    assert any(0 < share < 1 and 0 < step < STEPS == total for share, step, total in seen)
    assert previews
    assert all(width == height > 0 for width, height in previews)
    assert told["text"] == "a fox"
    assert told["filled"] == [[256, 192], [10, 200, 30], [0, 0, 255]]
    assert told["larger"] == [512, 384]
    assert told["interrupted"] == ["RuntimeError"]


HUGGING_FACE = """
import json, os
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
base = os.environ["URL"] + "/hf/"
client = InferenceClient(base_url=base + "sd-1.5", api_key=os.environ["KEY"])
small = {"width": 256, "height": 256, "num_inference_steps": 3}
told = {"sampled": client.text_to_image("a fox", seed=5, **small).size}
plain = InferenceClient(base_url=base + "test-image", api_key=os.environ["KEY"])
image = plain.text_to_image("a fox", width=512, height=256, seed=0x102030).convert("RGB")
told["plain"] = image.getpixel((1, 1))
try:
    client.text_to_image("a fox", width=100_000)
except HfHubHTTPError as error:
    told["refused"] = [error.response.status_code, "width" in str(error)]
print(json.dumps(told))
"""


def test_hugging_faces_client(variables: dict[str, str], tmp_path: Path) -> None:
    require_client("huggingface_hub")
    told = run(tmp_path, HUGGING_FACE, variables)
    assert (told["sampled"], told["plain"]) == ([256, 256], [0x10, 0x20, 0x30])
    assert told["refused"] == [400, True]
