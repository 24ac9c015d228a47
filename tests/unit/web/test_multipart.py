"""Multipart forms that have been received as a whole."""

from __future__ import annotations

import pytest

from orchestrator.web.http.multipart import MAX_FIELDS, FormField, parse_multipart

TYPE = "multipart/form-data; boundary=b"


def part(headers: str, content: bytes) -> bytes:
    return f"--b\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


def field(name: str, content: bytes, more: str = "") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"{more}', content)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (field("a", b"text"), ["text"]),
        (field("a", b""), [""]),
        (field("a", "é".encode()), ["é"]),
        (field("a", b"x--b\r\n-\r\n--c"), ["x--b\r\n-\r\n--c"]),
        (field("a", b"\xff\x00", '; filename="x.png"'), [b"\xff\x00"]),
        (field("a", b"", '; filename="x.png"'), [b""]),
        (field("a", b"", '; filename=""\r\nContent-Type: application/octet-stream'), [""]),
        (field("a", b"x", "; filename*=utf-8''%c3%a9.png"), [b"x"]),
        (field("a", b"\xff", "\r\nContent-Type: application/octet-stream"), [b"\xff"]),
        (field("a", b"\xe9", "\r\nContent-Type: text/plain; charset=latin-1"), ["é"]),
        (field("a", b"eA==", "\r\nContent-Transfer-Encoding: base64"), ["x"]),
        (field("a", b"=78", "\r\nContent-Transfer-Encoding: quoted-printable"), ["x"]),
        (field("a", b"1") + field("a", b"2"), ["1", "2"]),
        (b"a preamble\r\n" + field("a", b"1"), ["1"]),
        (field("a", b"1").replace(b"--b\r\n", b"--b \t\r\n"), ["1"]),
        (field("a", bytes(3_000_000), '; filename="x"'), [bytes(3_000_000)]),
        (b"", []),
    ],
)
def test_reads_the_fields_of_a_form(raw: bytes, expected: list[str | bytes]) -> None:
    for end in (b"--b--\r\n", b"--b--", b"--b--\r\nan epilogue"):
        fields = parse_multipart(raw + end, TYPE)
        assert [(field.name, field.value) for field in fields] == [("a", value) for value in expected]


def test_reads_the_name_and_the_type_of_a_file() -> None:
    raw = field("a", b"x", "; filename*=utf-8''%c3%a9.png\r\nContent-Type: image/png") + b"--b--"
    assert parse_multipart(raw, TYPE) == [FormField("a", b"x", "é.png", "image/png")]


def test_reads_a_quoted_boundary() -> None:
    raw = field("a", b"1").replace(b"--b", b"--a b?") + b"--a b?--"
    assert parse_multipart(raw, 'multipart/form-data; boundary="a b?"') == [FormField("a", "1")]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no boundary",
        b"--bc\r\n\r\n--b--",
        field("a", b"1"),
        part("Content-Disposition: form-data", b"1") + b"--b--",
        part("Content-Type: text/plain", b"1") + b"--b--",
        part("no header", b"1") + b"--b--",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n--b--",
        field("a", b"\xff") + b"--b--",
        field("a", b"1", "\r\nContent-Type: multipart/mixed; boundary=c") + b"--b--",
        field("a", b"1", "\r\nContent-Transfer-Encoding: x-gzip") + b"--b--",
        field("a", b"1", "\r\nX: " + "x" * 9000) + b"--b--",
        field("a", b"1") * (MAX_FIELDS + 1) + b"--b--",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_rejects_a_damaged_form(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"form|field|boundary|codec"):
        parse_multipart(raw, TYPE)


def test_rejects_an_unknown_charset() -> None:
    raw = field("a", b"1", "\r\nContent-Type: text/plain; charset=klingon") + b"--b--"
    with pytest.raises(LookupError):
        parse_multipart(raw, TYPE)


@pytest.mark.parametrize("type", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 71])
def test_rejects_a_form_without_a_usable_boundary(type: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        parse_multipart(b"--b--", type)
