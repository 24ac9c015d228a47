"""What callers get wrong: always the documented status and shape, never a charge, never a stuck hold."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.early_response import post_zeros
from tests.support.images import base64_png, bomb, png
from tests.support.service import ServiceProcess, pixelfactory

PATH = "/api/v1/images/generations"
TYPES = {
    400: "invalid_request",
    401: "authentication_error",
    402: "insufficient_balance",
    404: "not_found",
}


@dataclass(frozen=True)
class InvalidBodyCase:
    """A body that is refused, and the code that says why."""

    name: str
    body: dict[str, Any] | bytes
    code: str


def image(**fields: Any) -> dict[str, Any]:
    return {"model": "flux-1-schnell", "prompt": "a cat", **fields}


def video(**fields: Any) -> dict[str, Any]:
    return {"model": "wan2.1-t2v-fast", "prompt": "a cat", **fields}


def upscale(picture: Any) -> dict[str, Any]:
    return {"model": "4x-ultrasharp", "prompt": "", "image": picture}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


BAD = [
    InvalidBodyCase("not json", b"{", "invalid_json"),
    InvalidBodyCase("empty body", b"", "invalid_json"),
    InvalidBodyCase("a list", b"[]", "invalid_json"),
    InvalidBodyCase("nested too deeply", b"[" * 100_000, "invalid_json"),
    InvalidBodyCase("not utf-8", b'{"prompt": "\xff"}', "invalid_json"),
    InvalidBodyCase(
        "a number with too many digits", b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "invalid_json"
    ),
    InvalidBodyCase("model of the wrong type", image(model=7), "invalid_model"),
    InvalidBodyCase("unknown model", image(model="dall-e-9"), "model_not_found"),
    InvalidBodyCase("model that is a path", image(model="../flux-1-schnell"), "model_not_found"),
    InvalidBodyCase("no prompt", {"model": "flux-1-schnell"}, "missing_prompt"),
    InvalidBodyCase("null prompt", image(prompt=None), "missing_prompt"),
    InvalidBodyCase("empty prompt", image(prompt=""), "missing_prompt"),
    InvalidBodyCase("prompt of the wrong type", image(prompt=["a"]), "invalid_prompt"),
    InvalidBodyCase("prompt of a megabyte", image(prompt="a" * 2**20), "invalid_prompt"),
    InvalidBodyCase("prompt with a NUL", image(prompt="a\0b"), "invalid_prompt"),
    InvalidBodyCase("prompt with a lone surrogate", b'{"prompt": "a\\ud800"}', "invalid_prompt"),
    InvalidBodyCase("negative prompt of the wrong type", image(negative_prompt=1), "invalid_negative_prompt"),
    InvalidBodyCase("n is zero", image(n=0), "invalid_n"),
    InvalidBodyCase("n is five", image(n=5), "invalid_n"),
    InvalidBodyCase("n is a text", image(n="2"), "invalid_n"),
    InvalidBodyCase("n is true", image(n=True), "invalid_n"),
    InvalidBodyCase("two videos", video(n=2), "invalid_n"),
    InvalidBodyCase("size off the grid", image(size="1024x1023"), "invalid_size"),
    InvalidBodyCase("width off the grid", image(size="1023x1024"), "invalid_size"),
    InvalidBodyCase("size too small", image(size="8x8"), "invalid_size"),
    InvalidBodyCase("size too large", image(size="4096x4096"), "invalid_size"),
    InvalidBodyCase("size without numbers", image(size="axb"), "invalid_size"),
    InvalidBodyCase("size of the wrong type", image(size=1024), "invalid_size"),
    InvalidBodyCase("size with Arabic digits", image(size="\u0661\u0660x\u0661\u0660"), "invalid_size"),
    InvalidBodyCase("no steps", image(steps=0), "invalid_steps"),
    InvalidBodyCase("too many steps", image(steps=10_000), "invalid_steps"),
    InvalidBodyCase("half a step", image(steps=1.5), "invalid_steps"),
    InvalidBodyCase("cfg is not a number", b'{"prompt": "a", "cfg_scale": NaN}', "invalid_cfg_scale"),
    InvalidBodyCase("cfg is infinite", b'{"prompt": "a", "cfg_scale": Infinity}', "invalid_cfg_scale"),
    InvalidBodyCase("cfg is a text", image(cfg_scale="7"), "invalid_cfg_scale"),
    InvalidBodyCase("negative seed", image(seed=-1), "invalid_seed"),
    InvalidBodyCase("seed of 65 bits", image(seed=2**64), "invalid_seed"),
    InvalidBodyCase("seed is a text", image(seed="1"), "invalid_seed"),
    InvalidBodyCase("too many frames", video(num_frames=100_000), "invalid_num_frames"),
    InvalidBodyCase("no frames", video(num_frames=0), "invalid_num_frames"),
    InvalidBodyCase("no frame rate", video(fps=0), "invalid_fps"),
    InvalidBodyCase("unknown response format", image(response_format="xml"), "invalid_response_format"),
    InvalidBodyCase("no image to enlarge", {"model": "4x-ultrasharp", "prompt": ""}, "missing_image"),
    InvalidBodyCase("no image to animate", {"model": "wan2.1-i2v-480p", "prompt": "a"}, "missing_image"),
    InvalidBodyCase("image of the wrong type", upscale(5), "invalid_image"),
    InvalidBodyCase("image that is no base64", upscale("!!!"), "invalid_image"),
    InvalidBodyCase(
        "image that is a text",
        upscale(encoded(b"hello there, this is no picture")),
        "unsupported_image_format",
    ),
    InvalidBodyCase("truncated image", upscale(encoded(png(512, 512)[:700])), "invalid_image"),
    InvalidBodyCase("decompression bomb", upscale(encoded(bomb())), "image_too_large"),
    InvalidBodyCase("image too large to enlarge", upscale(base64_png(2304, 64)), "invalid_image"),
    InvalidBodyCase("image too small", upscale(base64_png(2, 2)), "invalid_image"),
    InvalidBodyCase(
        "image by private address", upscale("http://169.254.169.254/latest"), "image_url_refused"
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_a_bad_body_is_refused(service: ServiceProcess, key: str, bad: InvalidBodyCase) -> None:
    data = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    async with service.client(key) as http:
        before = await _wallet(http)
        async with http.post(
            PATH, data=io.BytesIO(data), headers={"Content-Type": "application/json"}
        ) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (400, bad.code)
            assert error["type"] == "invalid_request"
            assert error["message"]
            assert response.headers["X-Request-Id"]
        assert await _wallet(http) == before


async def test_a_body_over_the_limit_is_refused(service: ServiceProcess, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    response = await post_zeros(service.url + PATH, 101 * 2**20, headers)
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "payload_too_large")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer pk-wrong", "Basic cGs6eA==", "Bearer \u00e9"])
async def test_a_wrong_key_is_refused(service: ServiceProcess, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    async with service.client() as http, http.post(PATH, json=image(), headers=headers) as response:
        error = (await response.json())["error"]
        assert response.status == 401
        assert error["type"] == TYPES[401]


async def test_a_revoked_key_is_refused_at_once(service: ServiceProcess) -> None:
    made = service.run("keys", "create", "--credit", "1")
    async with service.client(made["key"]) as http:
        async with http.get("/api/v1/billing/balance") as response:
            assert response.status == 200
        service.run("keys", "revoke", made["id"])
        async with http.post(PATH, json=image()) as response:
            assert response.status == 401


async def test_an_empty_wallet_error_states_the_balance(service: ServiceProcess) -> None:
    key = service.run("keys", "create")["key"]
    async with service.client(key) as http, http.post(PATH, json=image()) as response:
        error = (await response.json())["error"]
        assert (response.status, error["type"], error["code"]) == (402, TYPES[402], "insufficient_balance")
        assert error["balance_usd"] == 0
        assert error["required_usd"] == 0.01


async def test_unknown_paths_and_methods_get_the_dialects_error(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        async with http.get("/api/v1/nothing") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "unknown_url"
        async with http.put(PATH, json={}) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
        async with http.get("/api/v1/jobs/job_of_nobody") as response:
            assert response.status == 404


SEEDS = {"prompt": "a cat", "seed": 2**64 - 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"model": "flux-1-schnell", "n": 2}),
        ("/v1/images/generations", {"model": "flux-1-schnell", "n": 2}),
        ("/api/v1/models/flux-1-schnell/run", {"num_outputs": 2}),
        ("/flux-dev/v1/dev/textToImage", {"num_images": 2}),
    ],
)
async def test_seeds_beyond_the_largest_are_refused_in_every_dialect(
    service: ServiceProcess, key: str, path: str, body: dict[str, Any]
) -> None:
    async with service.client(key) as http:
        before = await _wallet(http)
        async with http.post(path, json=SEEDS | body) as response:
            text = await response.text()
        assert response.status == 400, text
        assert str(2**64 - 2) in text, "the largest seed for two results"
        assert str(2**64 - 1) in text
        assert await _wallet(http) == before


async def test_odd_but_good_prompts_are_taken(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        for prompt in (
            "{{ 7*7 }}",
            '"], "x": [',
            "مدينة عند الغروب",
            "👩‍👩‍👧‍👦 \u202e reversed",
            "{% raw %}",
        ):
            body = image(prompt=prompt, size="256x256", response_format="url")
            async with http.post(PATH, json=body) as response:
                assert response.status == 200, await response.text()
                job = response.headers["X-PixelFactory-Job"]
            async with http.get(f"/api/v1/jobs/{job}") as response:
                assert (await response.json())["params"]["prompt"] == prompt


def test_wrong_usage_of_the_command_line_ends_with_2(service: ServiceProcess) -> None:
    assert pixelfactory("keys", "create", "--nonsense", check=False).returncode == 2
    failed = pixelfactory("keys", "revoke", "key_nobody", data_dir=service.data_dir, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error:")
    assert failed.stderr.count("\n") == 1


async def _wallet(http: Any) -> dict[str, Any]:
    async with http.get("/api/v1/billing/balance") as response:
        wallet = dict(await response.json())
    assert wallet["held_usd"] == 0
    return wallet
