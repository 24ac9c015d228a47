"""Weight files from servers that behave, and from servers that stall, cut and lie."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.catalog import WeightFile
from orchestrator.net.egress import create_public_session, is_public_address
from orchestrator.weights.download import MAX_REDIRECTS, DownloadRetryPolicy, HuggingFaceHub, WeightDownloader
from orchestrator.weights.errors import (
    DownloadInterrupted,
    LicenseNotAccepted,
    PermanentDownloadError,
    WeightError,
)
from orchestrator.weights.planning import plan_downloads
from orchestrator.weights.pulling import download_missing
from tests.support.weight_files import safetensors, weight
from tests.support.weight_host import Mood, WeightHost, hosting, lying, partly, whole
from tests.unit.weights.test_weight_plans import model

DATA = safetensors({"blocks.0.lin.weight": ("BF16", [300, 500]), "norm": ("F32", [8])})
OTHER = safetensors({"blocks.0.lin.weight": ("BF16", [300, 500]), "mono": ("F32", [8])})
HASTE = DownloadRetryPolicy(stall_timeout_seconds=2, max_attempts=3, backoff_seconds=0.01)
FILE = Path("diffusion_models/small.safetensors")


@asynccontextmanager
async def downloader(hub: str, token: str | None = None, *public: str) -> AsyncIterator[WeightDownloader]:
    """In a world where the loopback address, and those that `public` names, are public."""
    reachable = {"127.0.0.1", *public}
    session = create_public_session(
        allow_private=False,
        timeout=aiohttp.ClientTimeout(total=None),
        is_allowed=lambda ip: ip in reachable or is_public_address(ip),
    )
    async with session as http:
        yield WeightDownloader(http, HuggingFaceHub(url=hub, token=token), HASTE)


async def fetched(
    host: WeightHost, directory: Path, row: WeightFile | None = None, pinned: str | None = None
) -> tuple[str, list[int]]:
    """The digest, and what was heard meanwhile."""
    heard: list[int] = []
    async with downloader(host.server.url) as fetching:
        sha = await fetching.download(row or weight(DATA), directory / FILE, pinned, heard.append)
    return sha, heard


async def refused(directory: Path, *moods: Mood, **changes: Any) -> str:
    """Why nothing came of it; nothing has the file's name, and no byte of it is kept."""
    async with hosting(DATA, *moods) as host:
        with pytest.raises(PermanentDownloadError) as caught:
            await fetched(host, directory, weight(DATA, **changes))
    assert not (directory / FILE).exists()
    part = directory / f"{FILE}.part"
    assert not part.exists() or part.stat().st_size == 0
    return str(caught.value)


async def test_a_file_arrives_under_its_name(tmp_path: Path) -> None:
    async with hosting(DATA) as host:
        sha, heard = await fetched(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == DATA
    assert sha == hashlib.sha256(DATA).hexdigest()
    assert heard[-1] == len(DATA)
    assert [file.name for file in (tmp_path / FILE).parent.iterdir()] == [FILE.name]
    assert host.server.requests[0].startswith("GET /us/small/resolve/main/small.safetensors HTTP/1.1")


async def test_resumes_a_broken_or_stalled_download(tmp_path: Path) -> None:
    async with hosting(DATA, partly(1000), partly(0), partly(500, pause=60), partly(0, pause=60)) as host:
        await fetched(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == DATA
    assert host.ranges == [0, 1000, 1000, 1500, 1500]


async def test_another_process_goes_on_too(tmp_path: Path) -> None:
    async with hosting(DATA, partly(1000), *[partly(0)] * 3) as host:
        with pytest.raises(DownloadInterrupted):
            await fetched(host, tmp_path)
        assert (tmp_path / f"{FILE}.part").read_bytes() == DATA[:1000]
        await fetched(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == DATA


async def test_a_server_that_is_busy_is_asked_again_and_one_that_is_sure_is_not(tmp_path: Path) -> None:
    busy = [lying(b"", status=f"{status} no") for status in (503, 429)]
    async with hosting(DATA, *busy) as host:
        await fetched(host, tmp_path)
    assert len(host.server.requests) == 3
    assert (
        await refused(tmp_path / "other", lying(b"", status="404 no")) == "127.0.0.1 responds with status 404"
    )


async def test_ranges_that_are_not_served_mean_the_beginning(tmp_path: Path) -> None:
    async with hosting(DATA, partly(1000), whole(ranges=False)) as host:
        await fetched(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == DATA


async def test_a_part_of_another_file_is_found_out(tmp_path: Path) -> None:
    part = tmp_path / f"{FILE}.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    async with hosting(DATA) as host:
        await fetched(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == DATA
    assert host.ranges == [1000, 0]


async def test_a_part_that_is_too_long_is_of_no_use(tmp_path: Path) -> None:
    part = tmp_path / f"{FILE}.part"
    part.parent.mkdir()
    for row in (weight(DATA), weight(DATA, sha256="", bytes=0)):
        part.write_bytes(DATA + b"more")
        (tmp_path / f"{FILE}.part.etag").write_text('"v1"')
        async with hosting(DATA) as host:
            await fetched(host, tmp_path, row)
        assert (tmp_path / FILE).read_bytes() == DATA


async def test_rejects_files_that_differ_from_their_digest_or_size(tmp_path: Path) -> None:
    assert "SHA-256" in await refused(tmp_path, lying(OTHER))
    assert "has another file: it has 4 bytes" in await refused(tmp_path, lying(b"tiny"))
    part = lying(DATA[:10], f"Content-Range: bytes 5-14/{len(DATA)}", status="206 Partial Content")
    assert "another byte range" in await refused(tmp_path, part)
    packed = lying(b"\x1f\x8b" + bytes(20), "Content-Encoding: gzip")
    assert "status 200" in await refused(tmp_path, packed)


async def test_a_body_without_an_end_is_not_taken(tmp_path: Path) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    endless = lying(chunk * 20, "Transfer-Encoding: chunked")
    assert "more than the expected" in await refused(tmp_path, endless)


async def test_a_login_page_is_no_weight_file(tmp_path: Path) -> None:
    page = lying(b"<!DOCTYPE html><title>Sign in</title>", "Content-Type: text/html")
    assert "an HTML or XML page" in await refused(tmp_path, page, sha256="", bytes=0)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_gated_file_explains_how_to_get_access(status: str, tmp_path: Path) -> None:
    async with hosting(DATA, lying(b"", status=status)) as host:
        with pytest.raises(
            LicenseNotAccepted, match=r"license \(MIT\).*huggingface.co/us/small and set HF_TOKEN"
        ):
            await fetched(host, tmp_path)


async def test_the_token_goes_to_the_hub_alone(tmp_path: Path) -> None:
    async with hosting(DATA, partly(1000), address="127.0.0.2") as store:
        away = lying(b"", f"Location: http://127.0.0.2:{store.server.port}/blob?sign=1", status="302 Found")
        async with (
            hosting(DATA, away, away) as hub,
            downloader(hub.server.url, "hf_secret", "127.0.0.2") as it,
        ):
            await it.download(weight(DATA), tmp_path / FILE, None, lambda count: None)
    assert all("Bearer hf_secret" in head for head in hub.server.requests)
    assert not any("hf_secret" in head for head in store.server.requests)
    assert (len(hub.server.requests), store.ranges) == (2, [0, 1000])


async def test_the_token_of_the_hub_is_none_of_other_hosts_business(tmp_path: Path) -> None:
    async with hosting(DATA) as host, downloader("https://huggingface.co", "hf_secret") as fetching:
        row = weight(DATA, url=f"{host.server.url}/file")
        await fetching.download(row, tmp_path / FILE, None, lambda count: None)
    assert "hf_secret" not in host.server.requests[0]


async def test_a_redirect_to_a_private_address_is_refused(tmp_path: Path) -> None:
    async with hosting(DATA, address="127.0.0.2") as inside:
        target = f"Location: http://127.0.0.2:{inside.server.port}/"
        reason = await refused(tmp_path, lying(b"", target, status="302 Found"))
    assert "not a public address" in reason
    assert inside.server.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://user:secret@127.0.0.1/", "gopher://x/"])
async def test_a_redirect_to_no_web_address_is_refused(target: str, tmp_path: Path) -> None:
    await refused(tmp_path, lying(b"", f"Location: {target}", status="302 Found"))


async def test_redirects_come_to_an_end(tmp_path: Path) -> None:
    around = lying(b"", "Location: /again", status="307 Temporary Redirect")
    assert "more than" in await refused(tmp_path, *[around] * (MAX_REDIRECTS + 1))


async def test_an_unknown_file_is_pinned_by_its_first_download(tmp_path: Path) -> None:
    unknown = weight(DATA, sha256="", bytes=0)
    async with hosting(DATA, partly(1000), whole('"v2"')) as host:
        sha, _ = await fetched(host, tmp_path, unknown)
    assert (tmp_path / FILE).read_bytes() == DATA
    assert '"v1"' in host.server.requests[1], "it asks to go on only with the version that it began with"
    (tmp_path / FILE).unlink()
    async with hosting(OTHER) as host:
        with pytest.raises(PermanentDownloadError, match="SHA-256"):
            await fetched(host, tmp_path, unknown, pinned=sha)


async def test_a_file_without_an_address_is_the_operators(tmp_path: Path) -> None:
    assert "the manifest has no URL for it" in await refused(tmp_path, url="")


async def test_two_do_not_fetch_one_file(tmp_path: Path) -> None:
    async with hosting(DATA, partly(1000, pause=1)) as host:
        results = await asyncio.gather(
            fetched(host, tmp_path), fetched(host, tmp_path), return_exceptions=True
        )
    assert [type(result) for result in results if isinstance(result, WeightError)] == [PermanentDownloadError]
    assert (tmp_path / FILE).read_bytes() == DATA


class RecordingDownloadReporter:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.under_way: set[str] = set()
        self.most = 0
        self.ended: dict[str, str | None] = {}

    def on_start(self, file: Any) -> None:
        self.under_way.add(file.path)
        self.most = max(self.most, len(self.under_way))

    def on_progress(self, file: Any, count: int) -> None:
        assert count <= file.weight.bytes

    def on_finish(self, file: Any, reason: str | None) -> None:
        self.under_way.discard(file.path)
        self.ended[file.path] = reason


async def test_many_files_come_a_few_at_a_time_and_one_spoils_no_other(tmp_path: Path) -> None:
    rows = [weight(DATA, slot=f"s{number}", path=f"d/{number}.safetensors") for number in range(6)]
    rows[2] = weight(OTHER, slot="s2", path="d/2.safetensors")
    rows[3] = weight(DATA, slot="s3", path="d/3.safetensors", sha256="")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "5.safetensors").write_bytes(b"mine")
    log = RecordingDownloadReporter()
    async with hosting(DATA) as host, downloader(host.server.url) as fetching:
        found = plan_downloads([model(*rows)], (), tmp_path)
        failures = await download_missing(found, fetching, log, parallel=2)
        assert {failure.file.path for failure in failures} == {"d/2.safetensors", "d/5.safetensors"}
        assert (tmp_path / "d" / "5.safetensors").read_bytes() == b"mine"
        assert log.most == 2
        assert log.ended["d/3.safetensors"] is None
        again = plan_downloads([model(*rows)], (), tmp_path)
        assert [file.path for file in again.missing_files] == ["d/2.safetensors", "d/5.safetensors"]
        await download_missing(again, fetching, log, parallel=2, replace=True)
    assert (tmp_path / "d" / "5.safetensors").read_bytes() == DATA
    assert "3.safetensors" in (tmp_path / ".pixelfactory-pins.json").read_text()
