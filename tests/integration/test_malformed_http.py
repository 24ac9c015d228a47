"""What is no valid HTTP: an answer in the format of the dialect, and one line in the log."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.raw_http import exchange, head
from tests.support.service import ServiceProcess

#: A path of each dialect, with the members of its errors.
DIALECTS = {
    "openai": ("/api/v1/images/generations", {"error"}, 400),
    "pixelapi": ("/v1/image/generate", {"detail"}, 422),
    "pixazo": ("/flux-1-schnell/v1/getData", {"error"}, 400),
    "pixeldojo": ("/api/v1/models/flux-1-schnell/run", {"error"}, 400),
}
MALFORMED = {
    "a NUL in a header": b"POST {path} HTTP/1.1\r\nHost: service\r\nX: a\0b\r\n\r\n",
    "a header without a colon": b"POST {path} HTTP/1.1\r\nHost service\r\n\r\n",
    "a space in a header's name": b"POST {path} HTTP/1.1\r\nHost: service\r\nX Y: z\r\n\r\n",
    "two lengths": b"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "a length that is no number": b"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Length: x\r\n\r\n",
    "an unknown version": b"POST {path} HTTP/9.9\r\nHost: service\r\n\r\n",
    "a query with a line end": b"POST {path}?\n HTTP/1.1\r\nHost: service\r\n\r\n",
    "a long header": b"POST {path} HTTP/1.1\r\nHost: service\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "many headers": b"POST {path} HTTP/1.1\r\nHost: service\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", MALFORMED)
async def test_answers_in_the_format_of_the_dialect(service: ServiceProcess, dialect: str, name: str) -> None:
    path, members, status = DIALECTS[dialect]
    response = await exchange(service.url, MALFORMED[name].replace(b"{path}", path.encode()))
    assert (response.status, set(response.json())) == (status, members)
    assert response.headers.get_content_type() == "application/json"
    assert response.headers["X-Request-Id"].startswith("req_")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    text = json.dumps(response.json())
    assert "not valid HTTP" in text
    assert len(text) < 500
    assert "xxx" not in text


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00", b"\0\0\0\r\n\r\n", b"SSH-2.0-client\r\n", b"GET\r\n\r\n"]
)
async def test_answers_other_protocols(service: ServiceProcess, data: bytes) -> None:
    response = await exchange(service.url, data)
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_http")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\n", b"3\r\nabcdef\r\n"])
async def test_answers_a_bad_chunk_while_the_body_is_read(
    service: ServiceProcess, key: str, dialect: str, rest: bytes
) -> None:
    path, members, status = DIALECTS[dialect]
    fields = ("Transfer-Encoding: chunked", f"Ocp-Apim-Subscription-Key: {key}")
    begin = head("POST", path, *fields, key=key) + b"3\r\nabc\r\n"
    response = await exchange(service.url, begin, rest)
    assert (response.status, set(response.json())) == (status, members)


async def test_closes_the_connection_of_a_bad_chunk_after_the_answer(service: ServiceProcess) -> None:
    """Without a key the body is not read, so the handler does not learn of it."""
    begin = head("POST", "/v1/image/generate", "Transfer-Encoding: chunked")
    response = await exchange(service.url, begin, b"3\r\nabc\r\n", b"zz\r\n")
    assert response.status == 401
    assert response.body.count(b"detail") == 1


async def test_logs_few_lines_and_no_traceback(service: ServiceProcess) -> None:
    """Nothing of the request is logged as it is."""
    for number in range(50):
        forged = f"GET / HTTP/1.1\r\nX: \x1b[31m\0 forged-{number}\r\n\r\n".encode()
        assert (await exchange(service.url, forged)).status == 400
    log = service.log
    assert "Traceback" not in log
    assert "\x1b" not in log
    assert "forged-" not in log
    lines = re.findall(r"^\S+ (\S+) .*malformed HTTP from 127.0.0.1: [ -~]+$", log, re.MULTILINE)
    assert lines
    assert len({line[:8] for line in lines}) >= len(lines) - 1, "about one line a second"
