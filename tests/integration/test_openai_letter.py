"""OpenAI's document to the letter: forms of fields, counts and paths, against the running service."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.support.images import base64_png, png
from tests.support.service import ServiceProcess

SMALL: dict[str, Any] = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}


@pytest.fixture
def http(service: ServiceProcess, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=120)


def test_openais_path_makes_ten_images(service: ServiceProcess, key: str, http: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        made = client.images.generate(model="flux-1-schnell", prompt="a cat", size="256x256", n=10)
        assert len({item.b64_json for item in made.data or []}) == 10
        with pytest.raises(openai.BadRequestError, match="must be between 1 and 10"):
            client.images.generate(model="flux-1-schnell", prompt="a cat", n=11)
    with http:
        refused = http.post("/api/v1/images/generations", json=SMALL | {"n": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_n")
    message = refused.json()["error"]["message"]
    assert "between 1 and 4" in message
    assert "`POST /v1/images/generations` takes up to 10" in message


def test_quotes_name_the_path_that_takes_the_body(http: httpx.Client) -> None:
    film = {"model": "wan2.1-t2v-fast", "prompt": "a", "seconds": 2.125, "fps": 8}
    cases: list[tuple[str, dict[str, Any], str | None]] = [
        ("/api/v1/quote", SMALL | {"n": 4}, None),
        ("/api/v1/quote", SMALL | {"n": 10}, "/v1/images/generations"),
        ("/v1/quote", SMALL | {"n": 10}, None),
        ("/api/v1/quote", film, "/api/v1/videos"),
        ("/v1/quote", film, "/v1/videos"),
    ]
    with http:
        quotes = [http.post(path, json=body).json() for path, body, _ in cases]
        made = http.post(quotes[1]["path"], json=SMALL | {"n": 10})
        too_many = http.post("/v1/quote", json=SMALL | {"n": 11})
    assert [quote.get("path") for quote in quotes] == [path for _, _, path in cases]
    assert made.json()["usage"]["cost_cents"] == quotes[1]["cost_cents"]
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "invalid_n")


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2.0, "steps": 4.0, "seed": 7.0},
        {"size": "256X256"},
        {"size": {"width": 256.0, "height": 256.0}},
    ],
    ids=["whole numbers", "upper case", "object"],
)
def test_accepts_other_forms_of_the_same(http: httpx.Client, changes: dict[str, Any]) -> None:
    with http:
        made = http.post("/v1/images/generations", json=SMALL | changes)
    assert made.status_code == 200, made.text
    assert made.json()["usage"]["size"] == "256x256"
    assert len(made.json()["data"]) == changes.get("n", 1)


@pytest.mark.parametrize(
    "path", ["/v1/images/generations/", "//v1//images/generations", "/api/v1/images//generations/"]
)
def test_accepts_slashes_that_clients_join(service: ServiceProcess, http: httpx.Client, path: str) -> None:
    with http:
        assert http.post(f"{service.url}{path}", json=SMALL).status_code == 200
        assert http.get("/v1/models/").json()["object"] == "list"


IMAGE = f"data:image/png;base64,{base64_png(256, 256)}"


@pytest.mark.parametrize(
    "fields",
    [
        {"image": {"image_url": IMAGE}},
        {"image": {"url": IMAGE}},
        {"image_url": {"url": IMAGE}},
        {"images": [{"image_url": {"url": IMAGE}}]},
        {"images": [{"type": "image_url", "image_url": {"url": IMAGE, "detail": "high"}}]},
        {"image": [{"image_url": IMAGE}]},
    ],
)
def test_accepts_images_in_objects(http: httpx.Client, fields: dict[str, Any]) -> None:
    with http:
        made = http.post("/v1/images/edits", json={"prompt": "a hat", **fields})
    assert made.status_code == 200, made.text


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images[0]", "images[]"])
def test_accepts_images_in_forms(http: httpx.Client, name: str) -> None:
    data = {"prompt": "a hat", "model": "", "size": "", "n": "", "quality": ""}
    with http:
        made = http.post("/v1/images/edits", data=data, files={name: ("a.png", png(256, 256))})
    assert made.status_code == 200, made.text


@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/v1/videos", "/api/v1/models/flux-1-schnell/run"]
)
def test_refuses_names_given_twice(http: httpx.Client, path: str) -> None:
    body = b'{"prompt": "a cat", "seed": 1, "seed": 2}'
    with http:
        refused = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert "'seed' twice" in refused.text


def test_prompts_may_have_32_000_characters(http: httpx.Client) -> None:
    with http:
        assert http.post("/v1/images/generations", json=SMALL | {"prompt": "a" * 32_000}).status_code == 200
        refused = http.post("/v1/images/generations", json=SMALL | {"prompt": "a" * 32_001})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_prompt")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/images/edits", {"image": IMAGE, "prompt": "a", "stepps": 3}),
        ("/v1/images/variations", {"image": IMAGE, "loras": [{"name": "a"}], "model": "flux-1-redux-dev"}),
        ("/v1/videos", {"prompt": "a", "loop": True}),
        ("/v1/videos", {"prompt": "a", "model": "wan2.1-t2v-fast", "mask": IMAGE}),
    ],
)
def test_refuses_fields_that_the_model_does_not_have(
    http: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    with http:
        refused = http.post(path, json=fields)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "unknown_parameter"), error
    assert error["param"] in fields
