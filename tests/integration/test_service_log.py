"""The log of a process: requests, warnings and exceptions cannot forge its lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from comfy_instances.log_text import CONTINUATION
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess

PATHS = (
    "%0aFORGED%20line",
    "%0d%0aFORGED",
    "%1b%5b31mred",
    "%e2%80%a8FORGED",
    "%c2%85FORGED",
    "%e2%80%aeesrever",
)
LAST = "last-of-the-test"


@pytest.fixture(params=["text", "json"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_LOG_FORMAT": request.param}
    service = ServiceProcess(tmp_path / "data", options=("--simulate", "1"), environment=environment)
    service.start()
    yield service
    service.kill()


async def test_paths_and_keys_of_requests_forge_no_line_and_show_no_secret(service: ServiceProcess) -> None:
    secret = "pk-Abcdefghijklmnop1234"
    ids = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as http:
        for path in (*PATHS, secret, LAST):
            async with http.get(URL(f"{service.url}/api/v1/{path}", encoded=True)) as response:
                assert response.status in (401, 404)
                ids.append(response.headers["X-Request-Id"])
    wait_until_sync(lambda: LAST in service.log)
    lines = service.log.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith(("FORGED", CONTINUATION))]
    assert all(sum(id in line for line in lines) == 1 for id in ids)
    assert secret not in service.log
    assert service.admin_token not in service.log
    if service.environment["PIXELFACTORY_LOG_FORMAT"] == "json":
        documents = [json.loads(line) for line in lines]
        assert all({"time", "level", "logger", "message"} <= set(document) for document in documents)
        assert set(ids) <= {document.get("request_id") for document in documents}


PROCESS = """
import logging, sys, threading, warnings
logging.getLogger("library").addHandler(logging.StreamHandler())
from orchestrator.logs import configure_logging
configure_logging("INFO", sys.argv[1])
logging.getLogger("library").warning("from a library\\n%s", "pk-Abcdefgh12345678")
logging.getLogger("library").debug("not shown")
warnings.warn("a warning\\nFORGED")
thread = threading.Thread(target=lambda: 1 / 0, name="t\\nFORGED")
thread.start()
thread.join()
class Bad:
    def __del__(self):
        raise ValueError("in del\\nFORGED")
Bad()
raise SystemExit if sys.argv[2:] else KeyError("last\\nFORGED")
"""


@pytest.fixture(params=["text", "json"])
def process_lines(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    command = [sys.executable, "-c", PROCESS, request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return request.param, done.stderr.splitlines()


def test_all_loggers_warnings_and_uncaught_exceptions_use_the_format(
    process_lines: tuple[str, list[str]],
) -> None:
    log_format, lines = process_lines
    assert "pk-A" not in "".join(lines)
    assert not [line for line in lines if line.startswith("FORGED")]
    starts = [line for line in lines if not line.startswith(CONTINUATION)]
    assert len(starts) == 5
    found = "".join(lines)
    assert all(
        text in found for text in ("from a library", "a warning", "ZeroDivisionError", "in del", "last")
    )
    if log_format == "json":
        assert {tuple(json.loads(line))[:4] for line in lines} == {("time", "level", "logger", "message")}
