"""Pictures by URL, through the whole service: fetched by us and from nowhere that callers must not reach."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.support.images import png
from tests.support.service import ServiceProcess, running
from tests.support.web_servers import Say, answer, endless, redirect, serving

PATH = "/api/v1/images/generations"


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose callers may send it to private addresses, and that has little patience."""
    environment = {
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_INPUT_URL_SECONDS": "1",
        "PIXELFACTORY_MAX_IMAGE_BYTES": "200000",
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("open"), environment=environment)) as started:
        yield started


@pytest.fixture(scope="module")
def caller(open_service: ServiceProcess) -> str:
    return open_service.key()


async def enlarge(http: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, Any]]:
    body = {"model": "4x-ultrasharp", "prompt": "", "image": url, "response_format": "url"}
    async with http.post(PATH, json=body) as response:
        return response.status, await response.json()


async def available(http: aiohttp.ClientSession) -> float:
    async with http.get("/api/v1/billing/balance") as response:
        wallet = await response.json()
    assert wallet["held_usd"] == 0
    return float(wallet["available_usd"])


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


@pytest.mark.slow
async def test_an_image_by_url_is_enlarged(open_service: ServiceProcess, caller: str) -> None:
    async with serving(answer(png(64, 48))) as server, open_service.client(caller) as http:
        status, body = await enlarge(http, f"{server.url}/fox.png?sign=%7E")
        assert status == 200, body
        assert size_of(await download(body["data"][0]["url"])) == (256, 192)
    assert [head.split("\r\n")[0] for head in server.requests] == ["GET /fox.png?sign=%7E HTTP/1.1"]


async def test_the_same_image_twice_is_the_same_request(open_service: ServiceProcess, caller: str) -> None:
    """What counts is the picture, not where it lies: an idempotent repetition may come by another address."""
    async with serving(answer(png())) as server, open_service.client(caller) as http:
        http.headers["Idempotency-Key"] = "order-7"
        before = await available(http)
        first = await enlarge(http, f"{server.url}/a.png")
        spent = before - await available(http)
        second = await enlarge(http, f"{server.url}/b.png")
        assert first[0] == second[0] == 200
        assert before - await available(http) == pytest.approx(spent)


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (answer(b"not here", status="404 Not Found"), "image_url_unreachable"),
        (answer(b"short", "Content-Length: 90000"), "image_url_unreachable"),
        (endless(b"x", pause=0.05), "image_url_unreachable"),
        (redirect("/again"), "image_url_refused"),
        (redirect("file:///etc/passwd"), "image_url_refused"),
        (endless(b"x" * 10_000), "image_too_large"),
        (answer(b"<html>sign in</html>", "Content-Type: image/png"), "unsupported_image_format"),
        (answer(png()[:100]), "invalid_image"),
    ],
)
async def test_an_unfetchable_url_costs_nothing(
    open_service: ServiceProcess, caller: str, say: Say, code: str
) -> None:
    async with serving(say) as server, open_service.client(caller) as http:
        before = await available(http)
        status, body = await enlarge(http, server.url)
        assert (status, body["error"]["code"], body["error"]["param"]) == (400, code, "image")
        assert await available(http) == before


async def test_private_addresses_are_refused_unless_the_operator_allows_them(
    service: ServiceProcess, key: str
) -> None:
    secret = answer(b"the private server's secret")
    async with serving(secret) as server, service.client(key) as http:
        for url in (
            server.url,
            f"http://localhost:{server.port}/",
            f"http://[::ffff:127.0.0.1]:{server.port}/",
            f"http://127.1:{server.port}/",
            f"http://0x7f000001:{server.port}/",
            f"http://2130706433:{server.port}/",
            f"http://017700000001:{server.port}/",
            f"http://\u2460\u2461\u2466.0.0.1:{server.port}/",
            f"http://127.0.0.1.:{server.port}/",
            f"http://vm:{server.port}/",
            f"http://1.1.1.1@127.0.0.1:{server.port}/",
            f"http://127.0.0.1:{server.port}#@1.1.1.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://no-such-name.invalid/",
            "ftp://127.0.0.1/fox.png",
        ):
            status, body = await enlarge(http, url)
            assert (status, body["error"]["code"]) == (400, "image_url_refused"), url
            assert "secret" not in body["error"]["message"]
    assert server.requests == []


async def test_a_result_can_be_the_next_input(service: ServiceProcess, key: str) -> None:
    """Our own results are read although the service is on loopback; links that were changed are not."""
    async with service.client(key) as http:
        body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "response_format": "url"}
        async with http.post(PATH, json=body) as response:
            url = (await response.json())["data"][0]["url"]
        assert (await enlarge(http, url))[0] == 200
        for tampered in (
            url.replace("outputs/", "outputs/../inputs/"),
            url.replace("/outputs/", "/inputs/"),
            url[:-4] + "beef",
        ):
            status, refused = await enlarge(http, tampered)
            assert (status, refused["error"]["code"]) == (400, "image_url_refused")


async def test_slow_servers_do_not_delay_other_requests(open_service: ServiceProcess, caller: str) -> None:
    """Callers who wait for a dawdling server take nothing from the others."""
    async with (
        serving(endless(b"x", pause=0.05)) as slow,
        serving(answer(png())) as quick,
        open_service.client(caller) as http,
    ):
        dawdling = [asyncio.create_task(enlarge(http, slow.url)) for _ in range(8)]
        assert (await enlarge(http, quick.url))[0] == 200
        assert {status for status, _ in await asyncio.gather(*dawdling)} == {400}
