"""Errors of OpenAI's API: statuses, codes, exceptions, and which of them an SDK retries."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.support.images import bomb, png
from tests.support.service import ServiceProcess

EDITS, VARIATIONS, VIDEOS = "images/edits", "images/variations", "videos"
Upload = tuple[str, tuple[str, bytes]]


def upload(data: bytes, name: str = "image") -> Upload:
    return name, (f"{name}.png", data)


def transparent(width: int, height: int) -> Upload:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), (0, 0, 0, 0)).save(buffer, "PNG")
    return upload(buffer.getvalue(), "mask")


@dataclass(frozen=True)
class InvalidFormCase:
    """A form that is rejected with 400, the code that says why, and the field at fault."""

    path: str
    name: str
    code: str
    param: str | None
    fields: Mapping[str, str]
    files: tuple[Upload, ...]


def edit(name: str, code: str, param: str, *files: Upload, **fields: str) -> InvalidFormCase:
    return InvalidFormCase(EDITS, name, code, param, {"prompt": "at night", **fields}, files)


def variation(name: str, code: str, param: str, *files: Upload, **fields: str) -> InvalidFormCase:
    return InvalidFormCase(VARIATIONS, name, code, param, fields, files)


def video(name: str, code: str, param: str, *files: Upload, **fields: str) -> InvalidFormCase:
    return InvalidFormCase(VIDEOS, name, code, param, {"prompt": "waves", **fields}, files)


ONE = upload(png())
MANY = tuple(upload(png(64 + index, 64), "image[]") for index in range(20))
START = upload(png(256, 256), "input_reference")
BAD = [
    edit("no image", "missing_image", "image"),
    edit("text in place of an image", "invalid_image", "image", image="!!!"),
    edit("an empty file", "invalid_image", "image", upload(b"")),
    edit("a file that is not an image", "unsupported_image_format", "image", upload(b"hello there")),
    edit("a truncated image", "invalid_image", "image", upload(png(512, 512)[:700])),
    edit("a decompression bomb", "image_too_large", "image", upload(bomb())),
    edit("too many images", "unsupported_image", "image", *MANY),
    edit(
        "two images for a model that accepts one",
        "too_many_images",
        "image",
        *MANY[:2],
        model="flux-1-kontext-dev",
    ),
    edit("no prompt", "missing_prompt", "prompt", ONE, prompt=""),
    edit("unknown model", "model_not_found", "model", ONE, model="gpt-image-9"),
    edit("a model that accepts no images", "unsupported_model", "model", ONE, model="flux-1-schnell"),
    edit("a model that makes videos", "unsupported_model", "model", ONE, model="wan2.1-i2v-480p"),
    edit("n is text", "invalid_n", "n", ONE, n="two"),
    edit("n has a fraction", "invalid_n", "n", ONE, n="1.5"),
    edit("n is too large", "invalid_n", "n", ONE, n="11"),
    edit("size without numbers", "invalid_size", "size", ONE, size="large"),
    edit("unknown quality", "invalid_quality", "quality", ONE, quality="supreme"),
    edit("unknown format", "invalid_output_format", "output_format", ONE, output_format="tiff"),
    edit(
        "compression above 100",
        "invalid_output_compression",
        "output_compression",
        ONE,
        output_compression="101",
    ),
    edit(
        "compression of a png",
        "invalid_output_compression",
        "output_compression",
        ONE,
        output_compression="50",
    ),
    edit("too many partial images", "invalid_partial_images", "partial_images", ONE, partial_images="4"),
    edit("stream is not a boolean", "invalid_stream", "stream", ONE, stream="perhaps"),
    edit(
        "a model without transparency", "unsupported_background", "background", ONE, background="transparent"
    ),
    edit("unknown background", "invalid_background", "background", ONE, background="sky"),
    edit(
        "a model that accepts no mask",
        "unsupported_mask",
        "mask",
        ONE,
        transparent(64, 64),
        model="flux-1-kontext-dev",
    ),
    edit("markup", "unsupported_markup", "markup", ONE, upload(png(), "markup")),
    edit("a mask for eleven images", "unsupported_image", "image", *MANY[:11], transparent(64, 64)),
    edit("a mask without transparent pixels", "invalid_mask", "mask", ONE, upload(png(), "mask")),
    edit("a mask of another size", "invalid_mask", "mask", ONE, transparent(32, 64)),
    edit("a mask that is not an image", "unsupported_image_format", "mask", ONE, upload(b"hello", "mask")),
    edit("too many steps", "invalid_steps", "steps", ONE, steps="9999"),
    edit("steps as text", "invalid_steps", "steps", ONE, steps="many"),
    edit("a negative seed", "invalid_seed", "seed", ONE, seed="-1"),
    variation("no image", "missing_image", "image", n="1"),
    variation("two images", "invalid_image", "image", *MANY[:2]),
    variation("n is zero", "invalid_n", "n", ONE, n="0"),
    variation("a size below the minimum", "invalid_size", "size", ONE, size="8x8"),
    variation("a model that needs a prompt", "missing_prompt", "prompt", ONE, model="flux-1-kontext-dev"),
    variation(
        "unknown response format", "invalid_response_format", "response_format", ONE, response_format="x"
    ),
    video("no prompt", "missing_prompt", "prompt", prompt=""),
    video("unknown model", "model_not_found", "model", model="sora-9"),
    video("a model that makes images", "unsupported_model", "model", model="flux-1-dev"),
    video("no input image", "missing_input_reference", "input_reference", model="wan2.1-i2v-480p"),
    video(
        "a model that accepts no image",
        "unsupported_input_reference",
        "input_reference",
        START,
        model="wan2.1-t2v-pro",
    ),
    video(
        "a file that is not an image",
        "unsupported_image_format",
        "input_reference",
        upload(b"x", "input_reference"),
    ),
    video(
        "a file id", "invalid_input_reference", "input_reference", **{"input_reference[file_id]": "file-1"}
    ),
    video("too long", "invalid_seconds", "seconds", seconds="3600"),
    video("a length of zero", "invalid_seconds", "seconds", seconds="0"),
    video("a length as text", "invalid_seconds", "seconds", seconds="four"),
    video("a negative length", "invalid_seconds", "seconds", seconds="-4"),
    video("a length that is not a number", "invalid_seconds", "seconds", seconds="NaN"),
    video("too many frames", "invalid_num_frames", "num_frames", num_frames="99999"),
    video("too large", "invalid_size", "size", size="8192x8192"),
    video("an unknown size", "invalid_size", "size", size="wide"),
    video("two videos", "invalid_n", "n", n="2"),
]


@pytest.fixture(scope="module")
def own_key(service: ServiceProcess) -> str:
    """Return the key of an account that runs no jobs."""
    return service.key("1.00")


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.path}: {bad.name}")
async def test_rejects_an_invalid_form(service: ServiceProcess, own_key: str, bad: InvalidFormCase) -> None:
    headers = {"Authorization": f"Bearer {own_key}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers) as http:
        before = (await http.get("/api/v1/billing/balance")).json()
        # An empty part makes the request a form even if it has no file.
        files = list(bad.files) or [("none", ("", b""))]
        answer = await http.post(f"/v1/{bad.path}", data=dict(bad.fields), files=files)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, bad.code, bad.param), error
        assert error["type"] == "invalid_request"
        assert error["message"]
        assert answer.headers["X-Should-Retry"] == "false"
        assert (await http.get("/api/v1/billing/balance")).json() == before


BODIES: list[tuple[str, dict[str, Any], str]] = [
    (EDITS, {"prompt": "a", "image": 5}, "invalid_image"),
    (EDITS, {"prompt": "a", "images": "x"}, "invalid_images"),
    (EDITS, {"prompt": "a", "images": [{"file_id": "file-1"}]}, "invalid_image"),
    (EDITS, {"prompt": "a", "image": "x", "n": "2"}, "invalid_n"),
    (EDITS, {"prompt": ["a"], "image": "x"}, "invalid_prompt"),
    (EDITS, {"prompt": "a", "image": "x", "stream": 1}, "invalid_stream"),
    (VIDEOS, {"prompt": "a", "seconds": [4]}, "invalid_seconds"),
    (VIDEOS, {"prompt": "a", "seconds": True}, "invalid_seconds"),
    (VIDEOS, {"prompt": "a", "size": 5}, "invalid_size"),
    (VIDEOS, {"prompt": "a", "model": {}}, "invalid_model"),
    (VIDEOS, {"prompt": "a", "steps": "4"}, "invalid_steps"),
    (
        "images/generations",
        {"prompt": "a", "stream": True, "response_format": "url"},
        "invalid_response_format",
    ),
    (
        "images/generations",
        {"prompt": "a", "background": "transparent", "output_format": "jpeg"},
        "invalid_background",
    ),
    ("images/generations", {"prompt": "a", "model": "wan2.1-t2v-fast", "stream": True}, "invalid_stream"),
    (
        "images/generations",
        {"prompt": "a", "model": "wan2.1-t2v-fast", "output_format": "png"},
        "invalid_output_format",
    ),
    ("images/generations", {"prompt": "a", "cfg_scale": 10**400}, "invalid_cfg_scale"),
]


@pytest.mark.parametrize(("path", "body", "code"), BODIES, ids=lambda value: str(value)[:60])
def test_rejects_an_invalid_json_body(
    service: ServiceProcess, key: str, path: str, body: dict[str, Any], code: str
) -> None:
    answer = httpx.post(f"{service.url}/v1/{path}", json=body, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text


def part(head: str) -> bytes:
    """Return a form of one part."""
    return f"--edge\r\n{head}\r\n\r\nx\r\n--edge--\r\n".encode()


NAMED = 'Content-Disposition: form-data; name="prompt"'
BROKEN = [
    (b"", "multipart/form-data; boundary=edge"),
    (b"--other\r\n", "multipart/form-data; boundary=edge"),
    (part(NAMED), "multipart/form-data"),
    (part(NAMED), "multipart/form-data; boundary=" + "e" * 80),
    (part("Content-Disposition: form-data"), "multipart/form-data; boundary=edge"),
    (part('Content-Disposition: form-data; name="a\x13b"'), "multipart/form-data; boundary=edge"),
    (part(f"{NAMED}\r\nContent-Transfer-Encoding: pigeon"), "multipart/form-data; boundary=edge"),
    (part(f"{NAMED}\r\nContent-Type: text/plain; charset=pigeon"), "multipart/form-data; boundary=edge"),
    (part(f"{NAMED}\r\nContent-Type: multipart/mixed; boundary=b"), "multipart/form-data; boundary=edge"),
]


@pytest.mark.parametrize(("body", "content_type"), BROKEN)
def test_rejects_a_malformed_form(service: ServiceProcess, key: str, body: bytes, content_type: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    answer = httpx.post(f"{service.url}/v1/videos", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in (
        *("invalid_body", "missing_prompt", "invalid_prompt", "unknown_parameter"),
    )


def test_rejects_a_body_that_is_not_compressed_as_declared(service: ServiceProcess, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Encoding": "gzip"}
    answer = httpx.post(f"{service.url}/v1/images/generations", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_body")


PROTECTED = [
    ("POST", EDITS),
    ("POST", VARIATIONS),
    ("POST", VIDEOS),
    ("GET", VIDEOS),
    ("GET", f"{VIDEOS}/job_1"),
    ("DELETE", f"{VIDEOS}/job_1"),
    ("GET", f"{VIDEOS}/job_1/content"),
    ("POST", f"{VIDEOS}/job_1/remix"),
    ("POST", f"{VIDEOS}/edits"),
    ("DELETE", "models/flux-1-dev"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("root", ["/v1", "/api/v1"])
def test_rejects_requests_without_a_key(service: ServiceProcess, root: str, method: str, path: str) -> None:
    answer = httpx.request(method, f"{service.url}{root}/{path}")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert answer.headers["X-Should-Retry"] == "false"


WRONG_VIDEO = [
    ("GET", "job_nobody", 404, "video_not_found"),
    ("GET", "job_nobody/content", 404, "video_not_found"),
    ("POST", "job_nobody/remix", 404, "video_not_found"),
    ("DELETE", "job_nobody", 404, "video_not_found"),
    ("GET", "?limit=0", 400, "invalid_limit"),
    ("GET", "?order=sideways", 400, "invalid_order"),
    ("GET", "?after=job_nobody", 400, "invalid_cursor"),
    ("GET", "job_nobody/content?variant=gif", 400, "invalid_variant"),
    ("POST", "edits", 400, "unsupported_operation"),
    ("POST", "extensions", 400, "unsupported_operation"),
    ("POST", "characters", 400, "unsupported_operation"),
    ("PATCH", "job_nobody", 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), WRONG_VIDEO)
def test_rejects_invalid_requests_for_videos(
    service: ServiceProcess, key: str, method: str, path: str, status: int, code: str
) -> None:
    answer = httpx.request(
        method,
        f"{service.url}/v1/videos{'' if path.startswith('?') else '/'}{path}",
        headers={"Authorization": f"Bearer {key}"},
        json={"prompt": "a"} if method == "POST" else None,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "field", "size"),
    [
        ("images/generations", "size", "1x1"),
        ("images/generations", "image_size", "1x1"),
        ("images/generations", "resolution", "1x1"),
        ("videos", "size", "8x8"),
    ],
)
def test_errors_of_a_side_name_the_field_that_was_sent(
    service: ServiceProcess, own_key: str, path: str, field: str, size: str
) -> None:
    headers = {"Authorization": f"Bearer {own_key}"}
    answer = httpx.post(f"{service.url}/v1/{path}", json={"prompt": "a", field: size}, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, f"invalid_{field}", field)
    assert error["message"].startswith(f"`{field}`: `width` must be between ")
    assert "; the nearest sizes are " in error["message"]


def test_does_not_report_an_image_as_a_video(service: ServiceProcess, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    body = {"prompt": "a cat", "size": "256x256", "response_format": "url"}
    made = httpx.post(f"{service.url}/v1/images/generations", json=body, headers=headers, timeout=60)
    answer = httpx.get(f"{service.url}/v1/videos/{made.headers['X-PixelFactory-Job']}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_not_found")


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409])
def test_sdks_do_not_retry_permanent_errors(service: ServiceProcess, key: str, status: int) -> None:
    if status == 402:
        key = str(service.run("keys", "create")["key"])
    key = "pk-nobody" if status == 401 else key
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=2) as client:
        once = {"Idempotency-Key": f"once-{status}"}
        if status == 409:
            client.images.generate(prompt="a cat", size="256x256", extra_headers=once)
        with pytest.raises(openai.APIStatusError) as raised:
            _fail(client, status, once)
    assert raised.value.status_code == status
    assert raised.value.request.headers["x-stainless-retry-count"] == "0"
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert str(raised.value.request_id).startswith("req_")


def _fail(client: openai.OpenAI, status: int, headers: Mapping[str, str]) -> None:
    """Send a request that fails with `status`."""
    if status == 404:
        client.models.retrieve("nobody")
    client.images.generate(prompt="a cat", size="1x1" if status == 400 else "512x512", extra_headers=headers)


async def test_sdks_retry_while_no_instance_is_available(paced: ServiceProcess, paced_key: str) -> None:
    async with paced.client(paced.admin_token) as admin:
        await _each_instance(admin, "drain")
        async with openai.AsyncOpenAI(base_url=f"{paced.url}/v1", api_key=paced_key, max_retries=0) as client:
            with pytest.raises(openai.InternalServerError) as unavailable:
                await client.images.generate(prompt="a cat", size="256x256")
            assert (unavailable.value.status_code, unavailable.value.code) == (503, "no_instances")
            assert unavailable.value.response.headers["x-should-retry"] == "true"
            assert int(unavailable.value.response.headers["retry-after"]) > 0
            retrying = client.with_options(max_retries=2)
            waiting = asyncio.create_task(retrying.images.generate(prompt="a cat", size="256x256"))
            await asyncio.sleep(0.5)
            await _each_instance(admin, "resume")
            assert (await waiting).data


async def _each_instance(admin: Any, verb: str) -> None:
    async with admin.get("/admin/v1/instances") as response:
        rows = (await response.json())["instances"]
    for row in rows:
        async with admin.post(f"/admin/v1/instances/{row['id']}/{verb}") as response:
            assert response.status == 200, await response.text()
