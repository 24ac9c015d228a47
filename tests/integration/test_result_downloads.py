"""Links to results in every dialect: GET with ranges, HEAD, other origins, restarts, metering, redirects."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.callers import new_key, wait_for_status
from tests.support.datasets import data_url, zipped
from tests.support.polling import wait_until
from tests.support.service import ServiceProcess, running

PIXAZO = "/flux-1-schnell/v1/getData"
TYPES = {
    "sdxl-1.0": "image/png",
    "ltx2-t2v": "video/mp4",
    "hunyuan-3d": "model/gltf-binary",
    "sd-1.5-lora-trainer": "application/octet-stream",
}
SMALL: dict[str, dict[str, Any]] = {
    "sdxl-1.0": {"prompt": "a cat", "width": 512, "height": 512, "steps": 2},
    "ltx2-t2v": {"prompt": "a cat", "num_frames": 9},
    "hunyuan-3d": {"prompt": "a cup"},
    "sd-1.5-lora-trainer": {"dataset": data_url(zipped()), "steps": 2, "rank": 2, "size": 512},
}


@asynccontextmanager
async def anybody(**headers: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=headers) as http:
        yield http


def bytes_sent(service: ServiceProcess, model: str) -> int:
    """Return the metered bytes that the service sent of outputs of a model."""
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db:
        (total,) = db.execute("SELECT sum(bytes_sent) FROM meter_days WHERE model = ?", (model,)).fetchone()
    return int(total or 0)


async def make(http: aiohttp.ClientSession, model: str, **fields: Any) -> tuple[str, str]:
    """Return the id of a job made in PixelDojo's API, and the URL of its first output."""
    async with http.post(f"/api/v1/models/{model}/run", json=SMALL.get(model, {}) | fields) as response:
        assert response.status == 200, await response.text()
        job = str((await response.json())["jobId"])
    body = await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")
    assert body["status"] == "completed", body["error"]
    (urls,) = body["output"].values()
    return job, str(urls[0])


async def check_conditions(http: aiohttp.ClientSession, url: str, data: bytes) -> None:
    """Check that conditional requests send nothing, or the file in full to other tags; HEAD as GET."""
    async with http.head(url) as response:
        tag = response.headers["ETag"]
    for method in ("GET", "HEAD"):
        for headers, status in (
            ({"If-None-Match": tag}, 304),
            ({"If-None-Match": f'"x", W/{tag}', "Range": "bytes=0-1"}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-Match": '"x"'}, 412),
        ):
            async with http.request(method, url, headers=headers) as response:
                assert (response.status, await response.read()) == (status, b""), headers
                assert response.headers["ETag"] == tag
    async with http.get(url, headers={"Range": "bytes=2-4", "If-Range": tag, "If-Match": tag}) as response:
        assert (response.status, await response.read()) == (206, data[2:5])


async def check_link(url: str, content_type: str) -> bytes:
    """Return the file of a link, after requests of each kind."""
    async with anybody(Origin="https://app.example.com") as http:
        async with http.get(url) as response:
            data = await response.read()
            assert (response.status, response.content_type) == (200, content_type)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.content_length == len(data)
        async with http.head(url) as response:
            assert (response.status, response.content_type) == (200, content_type)
            assert (response.content_length, response.headers["Accept-Ranges"]) == (len(data), "bytes")
        for asked, part in (("0-", data), ("10-19", data[10:20]), ("-5", data[-5:])):
            async with http.get(url, headers={"Range": f"bytes={asked}"}) as response:
                assert (response.status, await response.read()) == (206, part), asked
        async with http.get(url, headers={"Range": f"bytes={len(data)}-"}) as response:
            assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        await check_conditions(http, url, data)
        async with http.get(url.replace("/results/job_", "/results/job_0")) as response:
            assert response.status == 404
    return data


@pytest.mark.parametrize("model", TYPES)
async def test_links_of_jobs_answer_get_ranges_and_head(service: ServiceProcess, model: str) -> None:
    async with service.client(new_key(service, "50.00")) as http:
        _, url = await make(http, model)
        assert url.startswith(f"{service.url}/results/job_")
        before = bytes_sent(service, model)
        data = await check_link(url, TYPES[model])
        sent = 2 * len(data) + len(data[10:20]) + len(data[-5:]) + len(data[2:5])
        await wait_until(lambda: bytes_sent(service, model) - before == sent)


@pytest.mark.slow
async def test_every_dialect_and_format_has_links_that_answer_head(service: ServiceProcess) -> None:
    key = new_key(service, "50.00")
    async with service.client(key) as http:
        body = {"model": "sdxl-1.0", "prompt": "a", "size": "512x512", "response_format": "url"}
        for output_format in ("png", "jpeg", "webp"):
            asked = body | {"output_format": output_format}
            async with http.post("/v1/images/generations", json=asked) as response:
                url = (await response.json())["data"][0]["url"]
            await check_link(url, f"image/{output_format}")
        async with http.post("/v1/image/generate", json={"prompt": "a", "width": 512, "height": 512}) as made:
            path = f"/v1/image/{(await made.json())['generation_id']}"
        url = (await wait_for_status(http, path, "completed"))["output_url"]
        await check_link(url, "image/png")
        async with http.post(PIXAZO, json={"prompt": "a", "width": 512, "height": 512}) as response:
            assert response.status == 200, await response.text()
            await check_link((await response.json())["output"], "image/png")


async def test_listed_loras_have_links_that_name_them(service: ServiceProcess) -> None:
    async with service.client(new_key(service, "50.00")) as http:
        await make(http, "sd-1.5-lora-trainer", lora_name="linked")
        async with http.get("/api/v1/loras") as response:
            (lora,) = [one for one in (await response.json())["loras"] if not one["shared"]]
        assert len(await check_link(lora["url"], "application/octet-stream")) == lora["bytes"]
        small = {"prompt": "a", "width": 512, "height": 512, "steps": 2}
        await make(http, "sd-1.5", loras=[{"url": lora["url"]}], **small)


async def test_the_link_of_a_deleted_job_is_not_found(service: ServiceProcess) -> None:
    async with service.client(new_key(service, "50.00")) as http:
        job, url = await make(http, "ltx2-t2v")
        async with http.delete(f"/v1/videos/{job}") as response:
            assert response.status == 200
    async with anybody() as http, http.get(url) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "output_not_found")


async def test_a_client_that_stops_reading_is_charged_what_it_was_sent(service: ServiceProcess) -> None:
    """Nothing of such a download stays behind, and other downloads go on."""
    async with service.client(new_key(service, "50.00")) as http:
        _, url = await make(http, "sdxl-1.0", width=1536, height=1536)
    split = urlsplit(url)
    for _ in range(40):
        reader, writer = await asyncio.open_connection(split.hostname, split.port)
        writer.write(f"GET {split.path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await reader.readexactly(100)
        writer.close()
    await check_link(url, "image/png")


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_RESULT_LINKS": "redirect"}
    with running(ServiceProcess(tmp_path_factory.mktemp("redirecting"), environment=environment)) as started:
        yield started


@pytest.mark.slow
async def test_links_work_after_a_restart_and_redirect_if_the_operator_wants(
    redirecting: ServiceProcess,
) -> None:
    async with redirecting.client(redirecting.key()) as http:
        _, url = await make(http, "sdxl-1.0")
    redirecting.stop()
    redirecting.start()
    async with anybody() as http:
        async with http.head(url, allow_redirects=False) as response:
            assert (response.status, response.content_type) == (200, "image/png")
            size = response.content_length
        async with http.get(url, allow_redirects=False) as response:
            assert response.status == 307
            assert "X-Amz-Signature" in response.headers["Location"]
        async with http.get(url, headers={"Range": "bytes=0-99"}) as response:
            assert (response.status, len(await response.read())) == (206, 100)
        async with http.get(url) as response:
            assert len(await response.read()) == size
    assert bytes_sent(redirecting, "sdxl-1.0") == 0
