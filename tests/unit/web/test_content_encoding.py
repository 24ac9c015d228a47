"""Compressed bodies are decoded within a limit, however they are made."""

from __future__ import annotations

import gzip
import zlib

import pytest
from aiohttp.test_utils import make_mocked_request

from orchestrator.errors import UnsupportedMediaType
from orchestrator.web.http.content_encoding import (
    MAX_GZIP_MEMBERS,
    DamagedBody,
    InflatedTooLarge,
    inflate,
    parse_content_encoding,
)

DATA = bytes(range(256)) * 8192


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "short", "long"])
@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
    ids=["gzip", "zlib", "raw deflate"],
)
def test_decodes_what_was_compressed(data: bytes, encoding: str, compress: object) -> None:
    assert inflate(compress(data), encoding, len(DATA)) == data  # type: ignore[operator]


def test_decodes_gzip_of_several_members() -> None:
    assert inflate(gzip.compress(DATA, mtime=0) + gzip.compress(b"end"), "gzip", 2**30) == DATA + b"end"


@pytest.mark.parametrize("times", [1, 50])
def test_stops_at_the_limit(times: int) -> None:
    bomb = gzip.compress(bytes(10_000_000)) * times
    with pytest.raises(InflatedTooLarge):
        inflate(bomb, "gzip", 9_999_999)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"junk", "gzip"),
        (b"junk", "deflate"),
        (gzip.compress(DATA, mtime=0)[:-1], "gzip"),
        (gzip.compress(DATA, mtime=0)[:100], "gzip"),
        (zlib.compress(DATA)[:-1], "deflate"),
        (gzip.compress(DATA, mtime=0) + b"junk", "gzip"),
        (zlib.compress(DATA) + b"junk", "deflate"),
        (gzip.compress(b"", mtime=0) * (MAX_GZIP_MEMBERS + 1), "gzip"),
        (gzip.compress(DATA, mtime=0), "deflate"),
    ],
)
def test_rejects_damaged_bodies(data: bytes, encoding: str) -> None:
    with pytest.raises(DamagedBody):
        inflate(data, encoding, 2**30)


@pytest.mark.parametrize(
    ("headers", "encoding"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["gzip"], "gzip"),
        (["X-GZIP"], "gzip"),
        ([" deflate "], "deflate"),
        (["identity, gzip"], "gzip"),
        (["identity", "deflate"], "deflate"),
    ],
)
def test_recognises_accepted_encodings(headers: list[str], encoding: str | None) -> None:
    request = make_mocked_request("POST", "/", headers=[("Content-Encoding", value) for value in headers])
    assert parse_content_encoding(request) == encoding


@pytest.mark.parametrize("headers", [["br"], ["zstd"], ["gzip, gzip"], ["gzip", "deflate"], ["compress"]])
def test_rejects_other_encodings_and_names_the_accepted_ones(headers: list[str]) -> None:
    request = make_mocked_request("POST", "/", headers=[("Content-Encoding", value) for value in headers])
    with pytest.raises(UnsupportedMediaType, match=r"one of gzip, deflate") as refused:
        parse_content_encoding(request)
    assert refused.value.headers == {"Accept-Encoding": "gzip, deflate"}
