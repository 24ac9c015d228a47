"""Request bodies: compressed, large, in pieces, and small ones for everybody without a key."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pricing.payments import sign_payment_webhook
from tests.integration.conftest import PAYMENT_SECRET
from tests.support.early_response import post_zeros
from tests.support.images import png
from tests.support.raw_http import exchange, head
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess

GENERATIONS = "/api/v1/images/generations"
IMAGE = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}
#: A path of each dialect, with the name of the member that explains an error.
DIALECTS = {
    "openai": (GENERATIONS, "error"),
    "pixelapi": ("/v1/image/generate", "detail"),
    "pixazo": ("/flux-1-schnell/v1/getData", "message"),
    "pixeldojo": ("/api/v1/models/flux-1-schnell/run", "error"),
}
MIB = 2**20


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A body of about a megabyte that becomes 1.2 GB."""
    return gzip.compress(bytes(100 * MIB)) * 12


def peak_memory(service: ServiceProcess) -> int:
    """Return the largest resident size of the process so far, in bytes."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def post(
    service: ServiceProcess, path: str, body: bytes, key: str | None = None, **headers: str
) -> httpx.Response:
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    sent = {"Content-Type": "application/json", **authorization}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{service.url}{path}", content=body, headers=sent, timeout=60)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
def test_accepts_compressed_json(service: ServiceProcess, key: str, encoding: str, compress: Any) -> None:
    body = compress(json.dumps(IMAGE).encode())
    assert post(service, GENERATIONS, body, key, Content_Encoding=encoding).status_code == 200


def test_accepts_a_compressed_form(service: ServiceProcess, key: str) -> None:
    request = httpx.Request(
        "POST",
        service.url,
        data={"model": "flux-kontext-dev", "prompt": "a hat"},
        files={"image": ("a.png", png(256, 256), "image/png")},
    )
    response = post(
        service,
        "/v1/images/edits",
        gzip.compress(request.read()),
        key,
        Content_Encoding="gzip",
        Content_Type=request.headers["Content-Type"],
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "klingon"])
def test_rejects_an_unknown_encoding_in_the_format_of_the_dialect(
    service: ServiceProcess, key: str, dialect: str, encoding: str
) -> None:
    path, member = DIALECTS[dialect]
    headers = {"Ocp_Apim_Subscription_Key": key} if dialect == "pixazo" else {}
    response = post(service, path, b"whatever", key, Content_Encoding=encoding, **headers)
    assert response.status_code == 415, response.text
    assert response.headers["Accept-Encoding"] == "gzip, deflate"
    assert "gzip, deflate" in json.dumps(response.json()[member])


def test_rejects_a_damaged_compressed_body(service: ServiceProcess, key: str) -> None:
    body = gzip.compress(json.dumps(IMAGE).encode())
    for damaged in (body[:-1], b"junk", body + b"junk"):
        response = post(service, GENERATIONS, damaged, key, Content_Encoding="gzip")
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_body")


def test_never_inflates_more_than_the_limit(service: ServiceProcess, key: str, bomb: bytes) -> None:
    before = peak_memory(service)
    response = post(service, GENERATIONS, bomb, key, Content_Encoding="gzip")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "payload_too_large")
    assert peak_memory(service) - before < 350 * MIB


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/readyz", {200}),
        ("POST", "/readyz", {405}),
        ("POST", "/nowhere", {404}),
        ("POST", GENERATIONS, {401}),
        ("POST", "/v1/image/generate", {401}),
        ("POST", "/admin/v1/keys", {401}),
        ("POST", "/dashboard/api/jobs", {401, 403}),
        ("POST", "/payments/checkout", {404}),
        ("POST", "/session", {400, 403}),
    ],
)
async def test_does_not_inflate_bodies_of_anybody_without_a_key(
    service: ServiceProcess, bomb: bytes, method: str, path: str, statuses: set[int]
) -> None:
    before = peak_memory(service)
    fields = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}", "Origin: http://service")
    response = await exchange(service.url, head(method, path, *fields) + bomb)
    assert response.status in statuses
    assert peak_memory(service) - before < 30 * MIB


@pytest.mark.parametrize("path", first_always(["/session", "/payments/checkout"]))
async def test_addresses_for_everybody_have_small_limits(bank: ServiceProcess, path: str) -> None:
    before = peak_memory(bank)
    origin = {"Origin": bank.url, "Content-Type": "application/json"}
    response = await post_zeros(f"{bank.url}{path}", 90_000_000, origin)
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "payload_too_large")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    fields = (
        "Transfer-Encoding: chunked",
        f"Origin: {bank.url}",
        f"Host: {bank.url.removeprefix('http://')}",
    )
    lines = head("POST", path, *fields).replace(b"Host: service\r\n", b"")
    unannounced = await exchange(bank.url, lines + chunk * 8)
    assert (unannounced.status, unannounced.json()["error"]["code"]) == (400, "payload_too_large")
    assert peak_memory(bank) - before < 30 * MIB


@pytest.mark.parametrize(
    "body",
    [b'{"prompt": [' + b"1," * 10_000_000 + b"1]}", b'{"prompt": ' + b"[" * 20_000_000, b"[" * 20_000_000],
    ids=["many values", "deep", "no object"],
)
def test_rejects_json_that_would_take_long_to_parse(service: ServiceProcess, key: str, body: bytes) -> None:
    before = peak_memory(service)
    response = post(service, GENERATIONS, body, key)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "payload_too_large")
    assert peak_memory(service) - before < 8 * len(body)


async def test_reads_a_body_that_arrives_in_pieces(service: ServiceProcess, key: str) -> None:
    body = json.dumps(IMAGE).encode()
    pieces = [body[at : at + 20] for at in range(0, len(body), 20)]
    response = await exchange(
        service.url, head("POST", GENERATIONS, f"Content-Length: {len(body)}", key=key), *pieces
    )
    assert response.status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_books_a_payment_that_arrives_in_pieces(bank: ServiceProcess, chunked: bool) -> None:
    account = bank.run("keys", "create")["account"]
    checkout = {
        "id": f"cs_pieces_{chunked}",
        "client_reference_id": account,
        "amount_total": 500,
        "currency": "usd",
        "payment_status": "paid",
        "padding": "x" * 100_000,
    }
    event = {"type": "checkout.session.completed", "data": {"object": checkout}}
    body = json.dumps(event).encode()
    signature = sign_payment_webhook(body, PAYMENT_SECRET, datetime.now(UTC))
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    pieces = [body[:1], body[1:40_000], body[40_000:]]
    if chunked:
        pieces = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces] + [b"0\r\n\r\n"]
    lines = head("POST", "/payments/checkout", size, f"Stripe-Signature: {signature}")
    response = await exchange(bank.url, lines, *pieces)
    assert (response.status, response.json()) == (200, {"received": True, "booked": True})
    assert bank.run("wallet", "show", account)["balance_usd"] == 5


def test_authentication_comes_before_the_body_at_every_path(service: ServiceProcess) -> None:
    """A body that would be refused is not even looked at."""
    statuses = {}
    with httpx.Client(base_url=service.url, headers={"Content-Encoding": "br"}, timeout=60) as http:
        for path, entries in http.get("/openapi.json").json()["paths"].items():
            for method, operation in entries.items():
                if "requestBody" in operation and operation.get("security") != []:
                    sent = http.request(method, re.sub(r"\{\w+\}", "1", path), content=b"{}")
                    statuses[f"{method} {path}"] = sent.status_code
    assert len(statuses) > 30
    assert set(statuses.values()) == {401}, statuses
