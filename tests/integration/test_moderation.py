"""Requests that the operator's policy refuses: before anything is held, in every way they may come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp
import pytest

from tests.support.callers import new_key
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess, pixelfactory, running

PATH = "/api/v1/images/generations"
SMALL = {"model": "sdxl-1.0", "size": "256x256", "steps": 1, "response_format": "url"}


class ModerationHandler(BaseHTTPRequestHandler):
    """A moderation service that flags violence and fails when it is told to."""

    asked: list[list[str]] = []  # noqa: RUF012 - the server makes a handler for each request

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.asked.append(texts)
        results = [{"flagged": "violence" in text, "categories": {"violence": True}} for text in texts]
        body = json.dumps({"results": results}).encode()
        self.send_response(500 if "break down" in texts else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModerationHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, judge: str) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("strict")
    words = directory / "words.toml"
    words.write_text('words = ["badword"]\npatterns = ["n+ope"]\n')
    environment = {"PIXELFACTORY_MODERATION_FILE": str(words), "PIXELFACTORY_MODERATION_URL": judge}
    with running(ServiceProcess(directory / "data", environment=environment)) as started:
        yield started


@pytest.fixture(scope="module")
def caller(strict: ServiceProcess) -> str:
    return strict.key("1.00")


async def ask(http: aiohttp.ClientSession, **fields: Any) -> tuple[int, Any]:
    async with http.post(PATH, json=SMALL | fields) as response:
        return response.status, await response.json()


async def traces(http: aiohttp.ClientSession) -> tuple[Any, Any]:
    """What a request leaves behind: ledger entries, and jobs without their links, which change with time."""
    async with http.get("/api/v1/billing/ledger") as response:
        entries = (await response.json())["entries"]
    async with http.get("/api/v1/jobs") as response:
        jobs = (await response.json())["jobs"]
    return entries, [(job["jobId"], job["status"], job["costUsd"], job["error"]) for job in jobs]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a B\u200bad\uff37ord on a wall"}, "prompt"),
        ({"prompt": "nnnope"}, "prompt"),
        ({"prompt": "a fox", "negative_prompt": "(badword:-1.5)"}, "negative_prompt"),
        ({"prompt": "a scene of violence"}, "prompt"),
    ],
)
async def test_a_blocked_request_costs_nothing_and_leaves_no_job(
    strict: ServiceProcess, caller: str, fields: dict[str, str], param: str
) -> None:
    async with strict.client(caller) as http:
        before = await traces(http)
        status, body = await ask(http, **fields)
        assert (status, body["error"]["type"]) == (400, "invalid_request")
        assert (body["error"]["code"], body["error"]["param"]) == ("content_policy_violation", param)
        assert await traces(http) == before


async def test_other_requests_pass(strict: ServiceProcess, caller: str) -> None:
    async with strict.client(caller) as http:
        status, body = await ask(http, prompt="a fox, badwords aside", negative_prompt="blur")
        assert status == 200, body
    assert ModerationHandler.asked[-1] == ["a fox, badwords aside"]


AVOIDED = "badword, violence, nnope"
#: Path and body of a request in each dialect that names words to avoid.
NEGATIVE_PROMPTS: list[tuple[str, dict[str, Any]]] = [
    (PATH, SMALL | {"negative_prompt": AVOIDED}),
    (PATH, SMALL | {"negativePrompt": AVOIDED, "cfg_scale": 0}),
    (PATH, SMALL | {"negativePrompt": AVOIDED, "model": "flux-1-schnell"}),
    ("/v1/images/generations", SMALL | {"negative_prompt": AVOIDED}),
    ("/v1/videos", {"model": "wan2.1-t2v-fast", "negative_prompt": AVOIDED}),
    ("/v1/image/generate", {"model": "sdxl", "width": 512, "height": 512, "negative_prompt": AVOIDED}),
    ("/flux-1-schnell/v1/getData", {"width": 256, "height": 256, "negativePrompt": AVOIDED}),
    ("/api/v1/models/sdxl-1.0/run", {"negative_prompt": AVOIDED, "steps": 1}),
    ("/api/v1/models/wan2.2-t2v-14b/run", {"negativePrompt": AVOIDED, "steps": 2}),
]


@pytest.mark.parametrize(
    ("path", "body"), first_always(NEGATIVE_PROMPTS, always=3), ids=lambda value: str(value)[:30]
)
async def test_words_to_avoid_are_allowed_in_every_dialect(
    strict: ServiceProcess, path: str, body: dict[str, Any]
) -> None:
    prompt = f"a fox for {path}"
    async with strict.client(new_key(strict)) as http:
        async with http.post(path, json=body | {"prompt": prompt}) as response:
            assert response.status < 300, await response.text()
        assert ModerationHandler.asked[-1] == [prompt]
        async with http.post(path, json=body | {"prompt": "badword"}) as response:
            told = await response.text()
            assert response.status == 400 or '"status":"blocked"' in told, told


async def test_prompts_rejected_by_word_lists_are_not_sent_to_the_endpoint(
    strict: ServiceProcess, caller: str
) -> None:
    asked = len(ModerationHandler.asked)
    async with strict.client(caller) as http:
        assert (await ask(http, prompt="badword"))[0] == 400
    assert len(ModerationHandler.asked) == asked


async def test_an_unreachable_moderation_service_asks_to_retry(strict: ServiceProcess, caller: str) -> None:
    async with strict.client(caller) as http:
        before = await traces(http)
        async with http.post(PATH, json=SMALL | {"prompt": "break down"}) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
            assert (await response.json())["error"]["code"] == "moderation_unavailable"
        assert await traces(http) == before


async def test_logs_rejections_without_the_prompt(strict: ServiceProcess, caller: str) -> None:
    async with strict.client(caller) as http:
        await ask(http, prompt="badword and nothing else of this")
    assert "`prompt` violates word 1 of the lists for all accounts" in strict.log
    assert "nothing else of this" not in strict.log


@pytest.mark.slow
async def test_by_default_nothing_is_refused(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        assert (await ask(http, prompt="badword violence"))[0] == 200


@pytest.mark.slow
def test_an_invalid_word_file_stops_the_start(tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    words.write_text("words = 7")
    done = pixelfactory(
        "up", "--port", "0", data_dir=tmp_path, check=False, PIXELFACTORY_MODERATION_FILE=str(words)
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: PIXELFACTORY_MODERATION_FILE:")
