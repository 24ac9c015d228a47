"""Every code example of Pixazo's document, unchanged but for host, key, images, webhook URL and request id.

They lie in `tests/documents/pixazo`, byte for byte, a file for each of the document's sections: the request
as HTTP, in Python, in JavaScript and by curl, a body with everything in it, and the poll by curl. Open models
stand in for the proprietary ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from orchestrator.web.dialects.pixazo import schemas as answers
from tests.support.callers import new_key, run_program, wait_for_status
from tests.support.datasets import is_trained, zipped
from tests.support.images import png, size_of
from tests.support.photos import hosting
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import WebhookReceiver, receiving

EXAMPLES = Path(__file__).parent.parent / "documents" / "pixazo"
QUEUED = (
    "flux-2-pro-text-to-image-trainer-712",
    "pro1.1",
    "flux-fill-dev",
)
#: Sections that differ from one of the above by the model or the number of inputs only.
ALIKE = (
    "flux-2-pro-image-to-image-866",
    "flux-dev-image",
    "flux-2-pro-text-to-image-799",
    "flux-2-pro-image-to-image-trainer-831",
    "flux-kontext-restore-image",
    "flux-pro",
    "flux-dev-text",
)
SYNCHRONOUS = ("flux-2-klein-4b", "generateT2I", "getData")
FILES = {"photo.png": png(320, 256), "mask.png": png(320, 256), "dataset.zip": zipped()}

_INPUT = re.compile(r"https://(?:pub-|example\.com)[^\"']+?(\w+\.(?:png|jpg|zip))")
_RECEIVER = re.compile(r"https://your-[^\"']+")
_REQUEST_ID = re.compile(r"request_id['\"]?:\s*['\"]([\w.-]+)['\"]")
_BATCH_ID = re.compile(r"requestId['\"]?:\s*['\"]([0-9a-f-]{36})['\"]")
_OUTPUT = re.compile(r"output['\"]?:\s*['\"](http[^'\"]+)['\"]")


class DocumentSection:
    """The examples of one section, with the reader's values filled in."""

    def __init__(
        self, name: str, service: ServiceProcess, key: str, photos: str, receiver: WebhookReceiver
    ) -> None:
        text = (EXAMPLES / f"{name}.txt").read_text()
        text = re.sub(r"YOUR_\w*KEY|your-api-key-here", key, text).replace("process.env.API_KEY", f"'{key}'")
        text = text.replace("https://gateway.pixazo.ai", service.url)
        text = _INPUT.sub(lambda found: f"{photos}/{found[1] if found[1] in FILES else 'photo.png'}", text)
        text = _RECEIVER.sub(receiver.url, text)
        examples = text.split("\n\n")
        self.http = examples[0]
        self.python, self.node, self.curl = examples[1:4]
        self.body = examples[4] if len(examples) > 4 else None
        self.poll = examples[5] if len(examples) > 5 else None

    async def answers(self, directory: Path, http: aiohttp.ClientSession) -> list[str]:
        """Run all examples concurrently and return what each prints or receives."""
        (directory / "example.mjs").write_text(self.node)
        # The document escapes an apostrophe as no shell reads it.
        curl = self.curl.replace(r"\'", r"'\''")
        return await asyncio.gather(
            run_program(directory, sys.executable, "-c", self.python),
            run_program(directory, "node", "example.mjs"),
            run_program(directory, "sh", "-c", curl),
            *(self._sent(http, body) for body in filter(None, (_body(self.http), self.body))),
        )

    async def _sent(self, http: aiohttp.ClientSession, body: str) -> str:
        """Send a request that the document writes as HTTP, and return the response."""
        line, *headers = self.http.partition("\n{")[0].splitlines()
        named = dict(header.split(": ", 1) for header in headers)
        method, url, *_ = line.split()
        async with http.request(method, url, data=body, headers=named) as response:
            return await response.text()


def _body(request: str) -> str:
    return "{" + request.partition("\n{")[2]


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize("name", first_always([*QUEUED, *ALIKE], always=len(QUEUED)))
async def test_runs_the_examples_that_queue_and_poll(
    offering: ServiceProcess, tmp_path: Path, name: str
) -> None:
    key = new_key(offering, "100.00")
    headers = {"Ocp-Apim-Subscription-Key": key}
    async with (
        hosting(FILES) as photos,
        receiving() as receiver,
        aiohttp.ClientSession(offering.url, headers=headers) as http,
    ):
        section = DocumentSection(name, offering, key, photos, receiver)
        found = [_REQUEST_ID.findall(answer) for answer in await section.answers(tmp_path, http)]
        assert [len(ids) for ids in found] == [1] * 5, found
        for (id,) in found:
            body = await wait_for_status(http, f"/v2/requests/status/{id}", "COMPLETED")
            answers.PixazoStatusResponse.model_validate(body, strict=True)
            assert body["request_id"] == id
            for url in body["output"]["media_url"]:
                data = await download(url)
                assert is_trained(data) if "trainer" in name else size_of(data)
        assert section.poll is not None
        poll = re.sub(r"(?<=/status/)[^\"]+", found[0][0], section.poll).replace("curl ", "curl -sS ")
        assert json.loads(await run_program(tmp_path, "sh", "-c", poll))["status"] == "COMPLETED"
        if "webhook" in (section.body or ""):
            delivery = await receiver.next()
            assert json.loads(delivery.body)["request_id"] == found[4][0]


@pytest.mark.parametrize("name", first_always(SYNCHRONOUS))
async def test_runs_the_examples_that_return_the_result(
    offering: ServiceProcess, tmp_path: Path, name: str
) -> None:
    key = new_key(offering)
    async with receiving() as receiver, aiohttp.ClientSession() as http:
        section = DocumentSection(name, offering, key, "", receiver)
        for answer in await section.answers(tmp_path, http):
            (url,) = _OUTPUT.findall(answer)
            assert size_of(await download(url)) == ((512, 512) if name == "getData" else (1024, 1024))


@pytest.mark.slow
async def test_runs_the_batch_examples(offering: ServiceProcess, tmp_path: Path) -> None:
    key = new_key(offering, None)  # it is free
    async with receiving() as receiver, aiohttp.ClientSession() as http:
        section = DocumentSection("getDataBatch", offering, key, "", receiver)
        ids = {id for answer in await section.answers(tmp_path, http) for id in _BATCH_ID.findall(answer)}
        assert len(ids) == 5
        told = [json.loads((await receiver.next()).body) for _ in ids]
        assert {body["requestId"] for body in told} == ids
        assert {body["status"] for body in told} == {"completed"}
        section = DocumentSection("checkStatus", offering, key, "", receiver)
        for name in ("http", "python", "node", "curl"):
            example = getattr(section, name).replace("18a36237-f8b2-4c8d-9a3b-d5e8a9f12c45", min(ids))
            setattr(section, name, example)
        for answer in await section.answers(tmp_path, http):
            (url,) = _OUTPUT.findall(answer)
            assert size_of(await download(url)) == (512, 512)
