"""The output check on a real ComfyUI: what its classifier objects to never leaves, and costs nothing."""

from __future__ import annotations

import base64
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.comfyui_server import installed_comfyui
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
]
CLASSIFIER = "red/model.safetensors"
RED, BLUE = 0xFF0000, 0x0000FF


@pytest.fixture(scope="module")
def service(
    comfyui_with_pack: RealServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    assert INSTALL is not None
    folder = comfyui_with_pack.base / "models" / "classifiers" / "red"
    folder.mkdir(parents=True)
    script = Path(__file__).parents[1] / "support" / "classifier.py"
    subprocess.run([INSTALL / "venv" / "bin" / "python", script, folder], check=True, capture_output=True)
    environment = {
        "PIXELFACTORY_WORKFLOWS_DIR": str(ROOT / "tests" / "workflows"),
        "PIXELFACTORY_OUTPUT_CHECK": CLASSIFIER,
    }
    data = tmp_path_factory.mktemp("service")
    with running(ServiceProcess(data, ("--instances", comfyui_with_pack.url), environment)) as started:
        yield started


@pytest.fixture
def http(service: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.key('1.00')}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=200) as client:
        yield client


def asked(**params: Any) -> dict[str, Any]:
    return {"model": "test-image", "prompt": "a colour", "size": "256x256", **params}


def test_a_refused_image_is_blocked_and_not_charged(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json=asked(seed=RED))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "content_policy_violation"
    assert http.get("/api/v1/billing/balance").json()["balance_usd"] == 1.0
    # Once is enough: what the check has seen it will see again elsewhere.
    job = http.get(f"/api/v1/jobs/{latest(http)}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "content_policy_violation")


def test_harmless_images_pass(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json=asked(seed=BLUE))
    assert answer.status_code == 200, answer.text
    assert http.get("/api/v1/billing/balance").json()["balance_usd"] < 1.0


def test_each_frame_of_a_video_is_an_image(http: httpx.Client) -> None:
    for colour, status in (((250, 0, 0), 400), ((0, 0, 250), 200)):
        body = {"model": "test-i2v", "prompt": "a", "num_frames": 5, "response_format": "url"}
        picture = plain(colour)
        answer = http.post("/api/v1/images/generations", json=body | {"image": picture})
        assert answer.status_code == status, answer.text


def plain(colour: tuple[int, int, int]) -> str:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def latest(http: httpx.Client) -> str:
    (job, *_) = http.get("/api/v1/jobs").json()["jobs"]
    return str(job["jobId"])
