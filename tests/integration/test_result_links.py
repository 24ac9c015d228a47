"""URLs of results: they answer GET and HEAD, expire, cannot be forged, and may be inputs of requests."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.images import size_of
from tests.support.service import ServiceProcess

IMAGE = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "response_format": "url"}


def create(service: ServiceProcess, key: str, path: str = "/v1/images/generations", **fields: object) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{service.url}{path}", json=IMAGE | fields, headers=headers, timeout=60)
    assert made.status_code == 200, made.text
    return str(made.json()["data"][0]["url"])


@pytest.fixture(scope="module")
def url(service: ServiceProcess, key: str) -> str:
    return create(service, key)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/api/v1/images/generations"])
@pytest.mark.parametrize(
    ("fields", "content_type"),
    [({}, "image/png"), ({"output_format": "jpeg"}, "image/jpeg")],
    ids=["as it is", "converted"],
)
def test_answer_head_as_get(
    service: ServiceProcess, key: str, path: str, fields: dict[str, object], content_type: str
) -> None:
    url = create(service, key, path, **fields)
    head, got = httpx.head(url), httpx.get(url)
    assert (head.status_code, got.status_code) == (200, 200)
    assert head.headers["content-type"] == got.headers["content-type"] == content_type
    assert int(head.headers["content-length"]) == len(got.content)
    assert size_of(got.content) == (256, 256)
    assert not head.content


def test_answer_ranges(url: str) -> None:
    part = httpx.get(url, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"\x89PNG")


@pytest.mark.parametrize("part", [2, 3, 4, 7], ids=["job", "expiry", "code", "key"])
def test_reject_links_that_were_changed(url: str, part: int) -> None:
    parts = url.split("/")
    index = part + 2
    parts[index] = parts[index][:-1] + ("0" if parts[index][-1] != "0" else "1")
    for response in (httpx.get("/".join(parts)), httpx.head("/".join(parts))):
        assert response.status_code == 404
    assert httpx.get("/".join(parts)).json()["error"]["code"] == "output_not_found"


def test_are_not_found_once_the_job_is_removed(service: ServiceProcess, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "wan2.1-t2v-fast", "prompt": "waves", "num_frames": 9, "size": "320x256"}
    made = httpx.post(
        f"{service.url}/v1/images/generations",
        json=body | {"response_format": "url"},
        headers=headers,
        timeout=60,
    )
    url = made.json()["data"][0]["url"]
    assert httpx.head(url).headers["content-type"] == "video/mp4"
    deleted = httpx.delete(f"{service.url}/v1/videos/{made.headers['X-PixelFactory-Job']}", headers=headers)
    assert deleted.status_code == 200
    assert (httpx.get(url).status_code, httpx.head(url).status_code) == (404, 404)


def test_may_be_inputs_of_other_requests(service: ServiceProcess, key: str, url: str) -> None:
    upscaled = create(service, key, model="4x-ultrasharp", prompt="", image=url, size=None)
    assert size_of(httpx.get(upscaled).content) == (1024, 1024)
    assert urlsplit(upscaled).netloc == urlsplit(service.url).netloc
