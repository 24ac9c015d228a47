"""HuggingFace's task of a text to an image: by the official Python client, and to the letter."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.callers import new_key
from tests.support.images import base64_png, png
from tests.support.python_client import run_python
from tests.support.service import ServiceProcess

SCHNELL = "/black-forest-labs/FLUX.1-schnell"
SMALL = {"width": 256, "height": 256}

CLIENT = """
import json, os
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

def client_of(model):
    return InferenceClient(base_url=os.environ["HF_ADDRESS"] + "/" + model, api_key=os.environ["KEY"])

reported = {}
image = client_of("black-forest-labs/FLUX.1-schnell").text_to_image("a cat", width=256, height=256, seed=7)
reported["image"] = image.size
image = client_of("stabilityai/stable-diffusion-xl-base-1.0").text_to_image(
    "a cat", negative_prompt="blur", num_inference_steps=4, guidance_scale=5, width=256, height=256
)
reported["guided"] = image.size
own = client_of("pixel-factory/flux-1-dev").text_to_image("a cat", extra_body={"aspect_ratio": "1:1"})
reported["own"] = own.size
changed = client_of("black-forest-labs/FLUX.1-Kontext-dev").image_to_image("one.png", prompt="at night")
reported["changed"] = changed.size
try:
    client_of("unknown/nothing").text_to_image("a cat")
except HfHubHTTPError as error:
    reported["unknown"] = [error.response.status_code, str(error)]
print(json.dumps(reported))
"""


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {new_key(offering, '50.00')}"}
    with httpx.Client(base_url=f"{offering.url}/hf", headers=headers, timeout=60) as client:
        yield client


def picture(response: httpx.Response) -> tuple[str | None, tuple[int, int]]:
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(response.content)) as image:
        return image.format, image.size


def test_official_python_client(offering: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(512, 384))
    reported = json.loads(
        run_python(tmp_path, CLIENT, HF_ADDRESS=f"{offering.url}/hf", KEY=new_key(offering, "5.00"))
    )
    assert reported["image"] == reported["guided"] == [256, 256]
    assert reported["own"][0] == reported["own"][1]
    assert reported["changed"] == [512, 384]
    status, text = reported["unknown"]
    assert status == 404
    assert "unknown/nothing" in text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP"), ("*/*", "PNG"), ("text/x", "PNG")],
)
def test_formats(http: httpx.Client, accept: str, kind: str) -> None:
    body = {"inputs": "a cat", "parameters": {**SMALL, "seed": 7}}
    response = http.post(SCHNELL, json=body, headers={"Accept": accept})
    assert picture(response) == (kind, (256, 256))
    assert response.headers["Content-Type"] == f"image/{kind.lower()}"
    assert response.headers["X-PixelFactory-Job"].startswith("job_")


def test_options_have_no_effect(http: httpx.Client) -> None:
    body = {"inputs": "a cat", "parameters": SMALL, "options": {"wait_for_model": True}}
    response = http.post(SCHNELL, json=body)
    assert picture(response)[1] == (256, 256)
    assert "wait_for_model" in response.headers["X-PixelFactory-Warnings"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SCHNELL, {}, 400),
        (SCHNELL, {"inputs": ""}, 400),
        (SCHNELL, {"inputs": 5}, 400),
        (SCHNELL, {"inputs": ["a", "b"]}, 400),
        (SCHNELL, {"inputs": "a", "parameters": []}, 400),
        (SCHNELL, {"inputs": "a", "parameters": {"prompt": "b"}}, 400),
        (SCHNELL, {"inputs": "a", "parameters": {"hocus": 1}}, 400),
        (SCHNELL, {"inputs": "a", "parameters": {"width": -1}}, 400),
        (SCHNELL, {"inputs": "a", "parameters": {"num_images_per_prompt": 2}}, 400),
        (SCHNELL, {"inputs": "a", "options": {"hocus": 1}}, 400),
        (SCHNELL, {"inputs": "a", "hocus": 1}, 400),
        ("/pixel-factory/4x-ultrasharp", {"inputs": "a"}, 400),
        ("/unknown/nothing", {"inputs": "a"}, 404),
    ],
)
def test_bad_requests(http: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    response = http.post(path, json=body)
    assert response.status_code == status, response.text
    assert isinstance(response.json()["error"], str | list)


def test_an_image_to_an_image(http: httpx.Client) -> None:
    image, kontext = base64_png(512, 384), "/pixel-factory/flux-1-kontext-dev"
    parameters: dict[str, Any] = {"prompt": "at night", "target_size": {"width": 256, "height": 256}}
    response = http.post(kontext, json={"inputs": image, "parameters": parameters})
    assert picture(response)[1] == (256, 256)
    response = http.post(SCHNELL, json={"inputs": image, "parameters": {"prompt": "at night"}})
    assert response.status_code == 400
    response = http.post(kontext, json={"inputs": "a cat", "parameters": {"prompt": "at night"}})
    assert (response.status_code, response.json()["field"]) == (400, "inputs")


def test_keys(offering: ServiceProcess) -> None:
    address, body = f"{offering.url}/hf{SCHNELL}", {"inputs": "a cat"}
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx.post(address, json=body, headers=headers)
        assert answer.status_code == 401
        assert isinstance(answer.json()["error"], str)
    poor = {"Authorization": f"Bearer {new_key(offering, None)}"}
    assert httpx.post(address, json=body, headers=poor).status_code == 402
