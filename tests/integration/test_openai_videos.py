"""The videos API through the official Python SDK, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest
from PIL import Image

from tests.support.images import png, size_of
from tests.support.service import ServiceProcess
from tests.support.videos import film

#: OpenAI has deprecated its videos API; the SDK warns whenever it is used.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

SHORT = {"num_frames": 17, "fps": 8}


@pytest.fixture(scope="module")
def own_key(service: ServiceProcess) -> str:
    """Return the key of an account that has no other jobs."""
    return service.key("10.00")


@pytest.fixture
def client(service: ServiceProcess, own_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=own_key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def video(service: ServiceProcess, own_key: str) -> str:
    """Return the id of a finished video of 320x256 pixels and 17 frames."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=own_key, max_retries=0) as client:
        made = client.videos.create(
            prompt="waves",
            size="320x256",
            extra_body=SHORT | {"seed": 5},
        )
        assert (made.status, made.progress) in {("queued", 0), ("in_progress", made.progress)}
        return str(client.videos.poll(made.id, poll_interval_ms=50).id)


@pytest.fixture
async def paced_client(paced: ServiceProcess, paced_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{paced.url}/v1", api_key=paced_key, max_retries=0) as client:
        yield client


def test_describes_a_finished_video(client: openai.OpenAI, video: str) -> None:
    found = client.videos.retrieve(video)
    assert (found.object, found.status, found.progress) == ("video", "completed", 100)
    assert (found.model, found.prompt) == ("wan2.1-t2v-fast", "waves")
    assert (found.size, found.seconds) == ("320x256", "2.125")
    assert found.completed_at is not None
    assert found.expires_at is not None
    assert found.created_at <= found.completed_at < found.expires_at
    assert found.error is None
    assert found.remixed_from_video_id is None


def test_downloads_the_video_and_its_stills(client: openai.OpenAI, video: str) -> None:
    whole = client.videos.download_content(video)
    assert whole.response.headers["content-type"] == "video/mp4"
    assert (film(whole.content).width, film(whole.content).frames) == (320, 17)
    still = client.videos.download_content(video, variant="thumbnail")
    assert still.response.headers["content-type"] == "image/webp"
    assert size_of(still.content) == (320, 256)
    sheet = client.videos.download_content(video, variant="spritesheet")
    assert sheet.response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(sheet.content)) as image:
        assert image.size == (5 * 240, 4 * 192)


@pytest.mark.parametrize(
    ("requested", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=0-99999999", 0, None),
    ],
)
def test_downloads_a_part_of_a_video(
    client: openai.OpenAI, video: str, requested: str, start: int, end: int | None
) -> None:
    whole = client.videos.download_content(video).content
    part = client.videos.download_content(video, extra_headers={"Range": requested})
    assert part.response.status_code == 206
    assert part.content == whole[start:end]
    first, last, size = (
        part.response.headers["content-range"].removeprefix("bytes ").replace("/", "-").split("-")
    )
    assert whole[int(first) : int(last) + 1] == part.content
    assert int(size) == len(whole)


def test_ignores_or_rejects_invalid_ranges(service: ServiceProcess, own_key: str, video: str) -> None:
    url, key = f"{service.url}/v1/videos/{video}/content", {"Authorization": f"Bearer {own_key}"}
    beyond = httpx.get(url, headers=key | {"Range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"].startswith("bytes */")
    for odd in ("bytes=5-1", "lines=1-2", "bytes=0-1,5-6", "bytes=a-b"):
        assert httpx.get(url, headers=key | {"Range": odd}).status_code == 200, odd
    whole = httpx.get(url, headers=key)
    same, other = whole.headers["etag"], '"another"'
    assert httpx.get(url, headers=key | {"Range": "bytes=0-9", "If-Range": same}).status_code == 206
    assert httpx.get(url, headers=key | {"Range": "bytes=0-9", "If-Range": other}).status_code == 200
    for method in ("GET", "HEAD"):
        kept = httpx.request(method, url, headers=key | {"If-None-Match": f"W/{same}"})
        assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", same)
        assert httpx.request(method, url, headers=key | {"If-Match": other}).status_code == 412
    head = httpx.head(url, headers=key)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole.content)))


def test_remixes_a_video(client: openai.OpenAI, video: str) -> None:
    made = client.videos.remix(video, prompt="a storm")
    assert made.remixed_from_video_id == video
    done = client.videos.poll(made.id, poll_interval_ms=50)
    assert (done.status, done.prompt, done.size, done.seconds) == ("completed", "a storm", "320x256", "2.125")
    assert client.videos.download_content(made.id).content != client.videos.download_content(video).content


def test_makes_a_video_from_an_image(client: openai.OpenAI) -> None:
    done = client.videos.create_and_poll(
        prompt="zoom in",
        input_reference=("start.png", png(320, 256), "image/png"),
        size="320x256",
        extra_body={"num_frames": 9},
        poll_interval_ms=50,
    )
    assert (done.status, done.model, done.size) == ("completed", "wan2.1-i2v-480p", "320x256")
    remix = client.videos.poll(client.videos.remix(done.id, prompt="zoom out").id, poll_interval_ms=50)
    assert (remix.status, remix.model) == ("completed", "wan2.1-i2v-480p")


def test_converts_seconds_to_frames(client: openai.OpenAI, service: ServiceProcess, own_key: str) -> None:
    video = client.videos.create(
        prompt="waves",
        seconds="4",
        size="256x256",
        extra_body={"steps": 1},
    )
    assert video.seconds == "4"
    headers = {"Authorization": f"Bearer {own_key}"}
    params = httpx.get(f"{service.url}/api/v1/jobs/{video.id}", headers=headers).json()["params"]
    assert (params["num_frames"], params["fps"], params["steps"]) == (64, 16, 1)


def test_a_length_has_fractions_of_seconds(client: openai.OpenAI) -> None:
    done = client.videos.create_and_poll(
        model="wan2.1-t2v-fast",
        prompt="waves",
        seconds="4.5",
        size="256x256",
        extra_body={"steps": 1, "fps": 8},
        poll_interval_ms=50,
    )
    assert (done.status, done.seconds) == ("completed", "4.5")
    with pytest.raises(openai.BadRequestError, match=r"the nearest values are 4\.25 and 4\.375"):
        client.videos.create(
            model="wan2.1-t2v-fast",
            prompt="waves",
            seconds="4.3",
            extra_body={"fps": 8},
        )


def test_lists_videos_in_pages(service: ServiceProcess) -> None:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key("1.00"), max_retries=0) as client:
        made = [
            client.videos.create(
                prompt=f"waves {number}",
                size="256x256",
                extra_body={"num_frames": 5},
            ).id
            for number in range(5)
        ]
        client.images.generate(model="flux-1-schnell", prompt="no video", size="256x256")
        assert [video.id for video in client.videos.list()] == made[::-1]
        assert [video.id for video in client.videos.list(limit=2)] == made[::-1]
        assert [video.id for video in client.videos.list(limit=2, order="asc")] == made
        page = client.videos.list(limit=2, after=made[4])
        assert ([video.id for video in page.data], page.has_more) == ([made[3], made[2]], True)


def test_does_not_find_a_deleted_video(client: openai.OpenAI) -> None:
    made = client.videos.create(
        prompt="waves",
        size="256x256",
        extra_body={"num_frames": 5},
    )
    deleted = client.videos.delete(made.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "video.deleted")
    for ask in (client.videos.retrieve, client.videos.delete, client.videos.download_content):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    assert made.id not in [video.id for video in client.videos.list()]


def test_deleting_a_video_deletes_its_file(
    client: openai.OpenAI, service: ServiceProcess, own_key: str
) -> None:
    """A video with the same content has a file of its own."""
    first, twin = (
        client.videos.create_and_poll(
            prompt="waves",
            size="256x256",
            extra_body={"num_frames": 5, "seed": 77},
            poll_interval_ms=50,
        )
        for _ in range(2)
    )
    headers = {"Authorization": f"Bearer {own_key}"}
    addresses = []
    for video in (first, twin):
        shown = httpx.get(f"{service.url}/api/v1/jobs/{video.id}", headers=headers).json()
        addresses += shown["output"]["videos"]
    client.videos.delete(first.id)
    assert [httpx.get(address).status_code for address in addresses] == [404, 200]
    assert client.videos.download_content(twin.id).content
    client.videos.delete(twin.id)
    assert httpx.get(addresses[1]).status_code == 404


def test_does_not_find_videos_of_other_accounts(service: ServiceProcess, video: str) -> None:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key(), max_retries=0) as stranger:
        messages = set()
        for video_id in (video, "job_unknown"):
            for ask in (stranger.videos.retrieve, stranger.videos.delete, stranger.videos.download_content):
                with pytest.raises(openai.NotFoundError) as raised:
                    ask(video_id)
                messages.add((raised.value.code, raised.value.message))
        assert len(messages) == 1


async def test_progress_grows_while_a_video_is_generated(paced_client: openai.AsyncOpenAI) -> None:
    video = await paced_client.videos.create(prompt="waves", size="256x256")
    with pytest.raises(openai.NotFoundError) as early:
        await paced_client.videos.download_content(video.id)
    assert early.value.code == "video_not_ready"
    seen = [(video.status, video.progress)]
    async with asyncio.timeout(60):
        while video.status in ("queued", "in_progress"):
            raw = await paced_client.videos.with_raw_response.retrieve(video.id)
            video = raw.parse()
            seen.append((video.status, video.progress))
            await asyncio.sleep(0.02)
    assert seen[-1] == ("completed", 100)
    assert [progress for _, progress in seen] == sorted(progress for _, progress in seen)
    assert any(status == "in_progress" and 0 < progress < 100 for status, progress in seen)


async def test_deleting_a_running_video_cancels_it(
    paced_client: openai.AsyncOpenAI, paced: ServiceProcess
) -> None:
    video = await paced_client.videos.create(prompt="waves", model="wan2.1-t2v-pro")
    await paced_client.videos.delete(video.id)
    async with paced.client(paced_client.api_key) as http, http.get("/api/v1/billing/balance") as response:
        assert (await response.json())["held_usd"] == 0
