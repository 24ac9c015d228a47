"""Links to results: only the service can make them, and they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from orchestrator.app.web_app import warn_of_unknown_address
from orchestrator.errors import NotFound
from orchestrator.execution.results.result_links import ResultLink, ResultLinks
from orchestrator.media.errors import UrlNotAllowed
from orchestrator.media.inputs.payloads import InputRejected, PayloadDecoder
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore, S3Config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
JOB_ID = "job_" + "0123456789abcdef" * 2
LINKS = [
    ResultLink(JOB_ID, f"{folder}/ab/{JOB_ID}-{'ab' * 32}.{ext}")
    for folder, ext in (("outputs", "png"), ("outputs", "mp4"), ("outputs", "glb"), ("loras", "safetensors"))
]


@pytest.fixture
async def objects() -> AsyncIterator[ObjectStore]:
    config = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", bucket="files")
    async with ObjectStore(config) as store:
        yield store


def links(objects: ObjectStore, *, hours: float = 0, secret: str = "s") -> ResultLinks:
    return ResultLinks(secret=secret, objects=objects, clock=lambda: NOW + timedelta(hours=hours))


@pytest.mark.parametrize("link", LINKS)
async def test_a_link_leads_to_its_object_until_it_expires(objects: ObjectStore, link: ResultLink) -> None:
    path = links(objects).path_of(link, NOW + DAY)
    assert path.startswith(f"/results/{JOB_ID}/")
    assert path.endswith(link.key)
    assert links(objects, hours=23.9).resolve(path) == link
    with pytest.raises(NotFound):
        links(objects, hours=24).resolve(path)


async def test_the_same_end_gives_the_same_link(objects: ObjectStore) -> None:
    first = links(objects).path_of(LINKS[0], NOW + DAY)
    assert links(objects, hours=5).path_of(LINKS[0], NOW + DAY) == first


async def test_links_that_were_tampered_with_are_not_found(objects: ObjectStore) -> None:
    path = links(objects).path_of(LINKS[0], NOW + DAY)
    end = str(int((NOW + DAY).timestamp()))
    others = (
        links(objects, secret="another").path_of(LINKS[0], NOW + DAY),
        path.replace(end, str(int(end) + 1)),
        path.replace(".png", ".jpg"),
        path.replace("job_0123", "job_0124"),
        path.replace("outputs/", "inputs/"),
        path + "/",
        path.replace(end, "9" * 40),
        "/results/x",
    )
    for other in others:
        with pytest.raises(NotFound):
            links(objects).resolve(other)


async def test_own_links_are_read_from_storage_and_those_of_others_are_not(objects: ObjectStore) -> None:
    path = links(objects).path_of(LINKS[0], NOW + DAY)
    presigned = await links(objects).presign_own(f"https://any.host{path}?x=1")
    assert presigned is not None
    assert urlsplit(presigned).path == f"/files/{LINKS[0].key}"
    for url in ("https://any.host/picture.png", f"https://any.host{path}x", "https://[/results/", ""):
        assert await links(objects).presign_own(url) is None


async def test_an_expired_link_as_an_input_says_so_and_how_to_get_another(objects: ObjectStore) -> None:
    url = "https://any.host" + links(objects).path_of(LINKS[0], NOW + DAY)
    policy = FetchPolicy(presign_own=links(objects, hours=24).presign_own)
    async with UrlFetcher(policy) as fetcher:
        with pytest.raises(InputRejected) as raised:
            await PayloadDecoder("image", 1000).fetch_if_url(url, fetcher.fetch)
    assert raised.value.code == "image_url_refused"
    assert f"result of {JOB_ID} has expired; get the job again" in str(raised.value)


async def test_a_forged_end_is_no_expired_link(objects: ObjectStore) -> None:
    path = links(objects).path_of(LINKS[0], NOW + DAY)
    end = int((NOW + DAY).timestamp())
    late = links(objects, hours=48)
    assert await late.presign_own("https://any.host" + path.replace(str(end), str(end - 1))) is None
    with pytest.raises(UrlNotAllowed):
        await late.presign_own("https://any.host" + path)


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({}, False),
        ({"public_url": "https://pixel.example"}, False),
        ({"s3_endpoint": "https://s3.example"}, True),
        ({"s3_endpoint": "https://s3.example", "public_url": "https://pixel.example"}, False),
    ],
)
def test_warns_where_webhooks_cannot_name_links_of_the_service(
    settings: dict[str, str], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unknown_address(Settings.model_validate(settings))
    assert ("PIXELFACTORY_PUBLIC_URL" in caplog.text) == warns
