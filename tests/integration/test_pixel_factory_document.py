"""Every code example of the Pixel Factory document, unchanged but for host and key, and its tables.

The examples lie in `tests/documents/pixel_factory`. Where one leans on another (`client`), that one's words
come first.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.images import png, size_of
from tests.support.node_project import run_node
from tests.support.programs import run_program
from tests.support.service import ServiceProcess
from tests.support.videos import film

EXAMPLES = Path(__file__).parent.parent / "documents" / "pixel_factory"
CLIENT = "base_url"
#: A page for the example that shows its result in a browser.
PAGE = """
import { writeFileSync } from "node:fs";
const shown = [];
globalThis.document = { createElement: () => ({}), body: { appendChild: (element) => shown.push(element) } };
process.on("exit", () => writeFileSync("shown.json", JSON.stringify(shown)));
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return the directory in which the examples run."""
    (tmp_path / "start_frame.png").write_bytes(png(320, 256))
    (tmp_path / "low_res.png").write_bytes(png(96, 64))
    return tmp_path


def example(name: str, service: ServiceProcess, key: str) -> str:
    text = (EXAMPLES / f"{name}.txt").read_text()
    return text.replace("https://YOUR_DASHBOARD_URL", service.url).replace("pk-your-api-key", key)


def python(desk: Path, service: ServiceProcess, key: str, *texts: str) -> str:
    """Run examples in sequence; those that create no client use that of the first one."""
    script = "\n".join(texts)
    if CLIENT not in script:
        first = example("python.py", service, key)
        script = first[: first.index("response = ")] + script
    return run_program(desk, sys.executable, "-c", script)


def shell(desk: Path, script: str) -> httpx.Response:
    """Run an example with a `base64` that writes one line, as macOS does."""
    tools = desk / "tools"
    tools.mkdir()
    (tools / "base64").write_text(f'#!/bin/sh\nexec {shutil.which("base64")} -w 0 "$@"\n')
    (tools / "base64").chmod(0o755)
    told = run_program(desk, "bash", "-c", script, PATH=f"{tools}:{os.environ['PATH']}")
    return httpx.Response(200, text=told)


def made(answer: httpx.Response) -> bytes:
    """Return the only file of a response."""
    (item,) = answer.json()["data"]
    return base64.b64decode(item["b64_json"])


def test_python_makes_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    told = python(desk, service, key, example("python.py", service, key))
    assert told == "Image saved to output.png\n"
    assert size_of((desk / "output.png").read_bytes()) == (1024, 1024)


def test_curl_makes_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    answer = shell(desk, example("curl.sh", service, key))
    assert size_of(made(answer)) == (1344, 768)
    assert {"model", "size", "n", "steps", "duration_ms", "cost_cents"} <= answer.json()["usage"].keys()


def test_javascript_makes_an_image_in_a_browser(desk: Path, service: ServiceProcess, key: str) -> None:
    run_node(desk, PAGE + example("browser.mjs", service, key))
    (shown,) = json.loads((desk / "shown.json").read_text())
    head, _, body = shown["src"].partition(",")
    assert head == "data:image/png;base64"
    assert size_of(base64.b64decode(body)) == (1024, 1024)


def test_javascript_makes_an_image_with_node(desk: Path, service: ServiceProcess, key: str) -> None:
    assert run_node(desk, example("node.mjs", service, key)) == "Saved to output.png\n"
    assert size_of((desk / "output.png").read_bytes()) == (1024, 1024)


@pytest.mark.slow
def test_curl_makes_a_video(desk: Path, service: ServiceProcess, key: str) -> None:
    video = film(made(shell(desk, example("video.sh", service, key))))
    assert (video.frames, video.fps) == (81, 16.0)


@pytest.mark.slow
def test_python_makes_a_video(desk: Path, service: ServiceProcess, key: str) -> None:
    told = python(desk, service, key, example("video.py", service, key))
    assert told == "Video saved to output.mp4\n"
    assert film((desk / "output.mp4").read_bytes()).frames == 81


@pytest.mark.slow
def test_python_makes_a_video_from_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    python(desk, service, key, example("image_to_video.py", service, key))
    assert film((desk / "animated.mp4").read_bytes()).frames == 81


@pytest.mark.slow
def test_curl_makes_a_video_from_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    video = film(made(shell(desk, example("image_to_video.sh", service, key))))
    assert (video.frames, video.fps) == (81, 16.0)


@pytest.mark.slow
def test_python_upscales_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    told = python(desk, service, key, example("upscale.py", service, key))
    assert told == "Upscaled image saved to upscaled.png\n"
    assert size_of((desk / "upscaled.png").read_bytes()) == (384, 256)


def test_curl_upscales_an_image(desk: Path, service: ServiceProcess, key: str) -> None:
    assert size_of(made(shell(desk, example("upscale.sh", service, key)))) == (384, 256)


@pytest.mark.slow
def test_python_makes_a_batch(desk: Path, service: ServiceProcess, key: str) -> None:
    assert python(desk, service, key, example("batch.py", service, key)) == "Saved 4 images\n"
    assert len({(desk / f"output_{index}.png").read_bytes() for index in range(4)}) == 4


@pytest.mark.slow
def test_the_same_seed_gives_the_same_image(desk: Path, service: ServiceProcess, key: str) -> None:
    compare = "print(response1.data[0].b64_json == response2.data[0].b64_json)"
    assert python(desk, service, key, example("seeds.py", service, key), compare) == "True\n"


@pytest.mark.slow
def test_python_retries_errors(desk: Path, service: ServiceProcess, key: str) -> None:
    text = example("retry.py", service, key)
    assert python(desk, service, key, text, "print(len(generate_with_retry('a cat').data))") == "1\n"
    caught = """
try:
    generate_with_retry("a cat")
except APIError as error:
    print(type(error).__name__, error.status_code)
"""
    nobody = example("retry.py", service, "pk-nobody")
    told = python(desk, service, key, nobody, caught)
    assert told == "Invalid API key - check your credentials\nAuthenticationError 401\n"
    poor = example("retry.py", service, str(service.run("keys", "create")["key"]))
    told = python(desk, service, key, poor, caught)
    assert told == "Insufficient balance - add funds at dashboard\nAPIStatusError 402\n"


@pytest.mark.slow
def test_javascript_reports_errors(desk: Path, service: ServiceProcess, key: str) -> None:
    ask = "\nconsole.log(await generateImage('a cat').then((made) => made.data.length, (e) => e.message));"
    told = {
        owner: run_node(desk, example("retry.mjs", service, each) + ask).strip()
        for owner, each in {
            "customer": key,
            "nobody": "pk-nobody",
            "poor": str(service.run("keys", "create")["key"]),
        }.items()
    }
    assert told["customer"] == "1"
    assert told["nobody"] == "Invalid API key"
    assert told["poor"].startswith("Insufficient balance: ")


#: Model, default steps (where the document tells), largest size (where it does), price in dollars.
MODELS = {
    "flux-1-schnell": (4, "2048x2048", 0.0005),
    "flux-1-dev": (20, "2048x2048", 0.0032),
    "flux-2-dev": (30, "2048x2048", 0.0060),
    "sdxl-1.0": (30, "2048x2048", 0.0022),
    "4x-ultrasharp": (1, "8192x8192", 0.0010),
    "wan2.1-t2v-fast": (20, None, 0.0050),
    "wan2.1-t2v-pro": (30, None, 0.0150),
    "wan2.2-t2v-14b": (30, None, 0.0200),
    "ltx2-t2v": (30, None, 0.0080),
    "cogvideox-1.5-5b": (50, None, 0.0100),
    "hunyuan-video-720p": (30, None, 0.0200),
    "wan2.1-i2v-480p": (None, None, 0.0200),
    "wan2.1-i2v-720p": (None, None, 0.0300),
    "wan2.2-i2v-14b": (None, None, 0.0300),
}


def test_offers_the_models_of_the_tables(service: ServiceProcess) -> None:
    answer = httpx.get(f"{service.url}/api/v1/images/models", headers={"Origin": "https://example.org"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    body = answer.json()
    assert body["object"] == "list"
    entries = {entry["id"]: entry for entry in body["data"]}
    for model, (steps, largest, price) in MODELS.items():
        entry = entries[model]
        assert entry["object"] == "model"
        assert entry["price_per_image_cents"] == pytest.approx(price * 100), model
        assert steps in (None, entry["default_steps"]), model
        assert largest in (None, entry["max_resolution"]), model
    kinds = {entry["type"] for entry in entries.values() if entry["id"] in MODELS}
    assert kinds == {"image", "upscale", "video", "i2v"}
    fields = {"created", "owned_by", "display_name", "architecture", "default_cfg", "featured"}
    assert all(fields <= entry.keys() for entry in entries.values())


COSTS = [
    ({"model": "flux-1-schnell"}, 1.0),
    ({"model": "flux-1-schnell", "n": 4}, 1.0),
    ({"model": "flux-1-dev", "size": "2048x2048"}, 1.28),
    ({"model": "wan2.1-t2v-pro", "num_frames": 81}, 1.5),
    ({"model": "hunyuan-video-720p", "num_frames": 81}, 2.0),
]


@pytest.mark.parametrize(("asked", "cents"), COSTS)
def test_charges_the_prices_of_the_examples(
    service: ServiceProcess, key: str, asked: dict[str, object], cents: float
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{service.url}/api/v1/quote", json={"prompt": "a", **asked}, headers=headers)
    assert answer.json()["cost_cents"] == cents
