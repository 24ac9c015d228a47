"""Files in JSON responses: their base64 text is made while it is sent."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from pydantic import BaseModel

from orchestrator.media.errors import ObjectStoreUnavailable
from orchestrator.web.http.embedded_files import PIECE_BYTES, EmbeddedFiles, FileContent
from tests.support.service import ROOT, ServiceProcess, running


class Body(BaseModel):
    """Repeats a text of the request beside its files."""

    said: str
    files: list[str]


class Stored:
    """A file whose first piece has been loaded, and which notes what else is read of it."""

    def __init__(self, size: int, readable: int | None = None) -> None:
        self._readable = size if readable is None else readable
        self.data = Random(size).randbytes(1_000_003)
        self.reads: list[tuple[int, int]] = []
        self.content = FileContent(size, self.part(0, min(size, PIECE_BYTES)), self._read)

    def part(self, start: int, stop: int) -> bytes:
        """Return bytes of an endless repetition of the data."""
        offset = start % len(self.data)
        repeated = self.data * ((stop - start + offset) // len(self.data) + 1)
        return repeated[offset : offset + stop - start]

    async def _read(self, start: int, stop: int) -> bytes:
        self.reads.append((start, stop))
        if start >= self._readable:
            raise ObjectStoreUnavailable("object storage is unreachable")
        return self.part(start, min(stop, self._readable))


@asynccontextmanager
async def responding(
    *files: FileContent, said: str = "a fox"
) -> AsyncIterator[Callable[[], aiohttp.client._RequestContextManager]]:
    """Serve a response with these files; the value sends a request for it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        embedded = EmbeddedFiles()
        texts = ["data:image/png;base64," + embedded.add(file) for file in files]
        return await embedded.to_response(Body(said=said, files=texts), headers={"X-Job": "one"})

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield lambda: http.get(server.make_url("/"))


@pytest.mark.parametrize("sizes", [(), (0, 1, 2, 3), (196_607, 196_608, 196_609), (2_000_001, 64)])
async def test_each_text_stands_in_its_place(sizes: tuple[int, ...]) -> None:
    files = [Random(size).randbytes(size) for size in sizes]
    async with responding(*map(FileContent.of, files), said='"fäx"\n') as ask, ask() as response:
        text = await response.text()
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert (response.headers["X-Job"], response.content_length) == ("one", len(text.encode()))
    found = json.loads(text)
    assert found["said"] == '"fäx"\n'
    assert [b64decode(file.partition(",")[2], validate=True) for file in found["files"]] == files


async def test_a_text_that_no_utf8_has_is_escaped() -> None:
    async with responding(FileContent.of(b"abc"), said="\ud800") as ask, ask() as response:
        found = json.loads(await response.text())
    assert found == {"said": "\ud800", "files": ["data:image/png;base64,YWJj"]}


async def test_large_files_are_read_piece_by_piece_in_their_order() -> None:
    first, second = Stored(PIECE_BYTES + 1), Stored(2 * PIECE_BYTES + 5)
    async with responding(first.content, FileContent.of(b"ab"), second.content) as ask, ask() as response:
        found = await response.json()
    texts = [file.partition(",")[2] for file in found["files"]]
    for text, stored in ((texts[0], first), (texts[2], second)):
        assert b64decode(text) == stored.part(0, stored.content.size)
    assert first.reads == [(PIECE_BYTES, PIECE_BYTES + 1)]
    ends = [PIECE_BYTES, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 5]
    assert second.reads == list(pairwise(ends))


async def test_nothing_is_read_ahead_for_a_client_that_does_not_read() -> None:
    """What the sockets hold is less than two pieces."""
    stored = Stored(20 * PIECE_BYTES)
    async with responding(stored.content) as ask, ask():
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert len(stored.reads) <= 3


async def test_a_large_result_is_the_one_that_is_stored(tmp_path: Path) -> None:
    """An enlarged picture of noise, which is larger than a piece."""
    picture, side = io.BytesIO(), 420
    Image.frombytes("RGB", (side, side), Random(1).randbytes(3 * side**2)).save(picture, "PNG")
    image = b64encode(picture.getvalue()).decode()
    fields = {"model": "test-upscale", "prompt": "", "size": "auto", "image": image}
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(ROOT / "tests" / "workflows")}
    with running(ServiceProcess(tmp_path, environment=environment)) as service:
        async with service.client(service.key()) as http:

            async def ask(response_format: str) -> dict[str, str]:
                body, headers = fields | {"response_format": response_format}, {"Idempotency-Key": "large"}
                async with http.post("/api/v1/images/generations", json=body, headers=headers) as response:
                    found = await response.json()
                    assert response.status == 200, found
                return dict(found["data"][0])

            text, link = (await ask("b64_json"))["b64_json"], (await ask("url"))["url"]
            async with http.get(link) as response:
                stored = await response.read()
    assert len(stored) > PIECE_BYTES
    assert b64decode(text, validate=True) == stored


@pytest.mark.parametrize("readable", [PIECE_BYTES, 2 * PIECE_BYTES - 1], ids=["unreachable", "shorter"])
async def test_a_response_is_cut_off_where_a_file_cannot_be_read(readable: int) -> None:
    stored = Stored(3 * PIECE_BYTES, readable)
    async with responding(stored.content) as ask, ask() as response:
        assert response.status == 200
        with pytest.raises((aiohttp.ClientPayloadError, ConnectionResetError)):
            await response.read()
