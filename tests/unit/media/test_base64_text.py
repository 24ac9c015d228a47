"""Base64 of any length is decoded piece by piece, with the same result as in one go."""

from __future__ import annotations

import base64
import random

import pytest

from orchestrator.media.inputs.base64_text import Base64TooLong, decode_base64

DATA = random.Random(1).randbytes(2_000_000)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 1000, 393_215, 393_216, 393_217, 2_000_000])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
def test_decodes_either_alphabet_with_and_without_padding(length: int, encode: object) -> None:
    data = DATA[:length]
    text = encode(data).decode()  # type: ignore[operator]
    assert decode_base64(text, start=0, max_bytes=length + 3) == data
    assert decode_base64(text.replace("=", ""), start=0, max_bytes=length + 3) == data
    assert decode_base64("head," + text + "\n== =\n", start=5, max_bytes=length + 3) == data


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "QUJ$",
        "QUJé",
        "QQ==QUJD",
        "A" * 1_000_000 + "=" + "A" * 999,
        "A" * 1_000_001,
        "A" * 600_000 + "\0",
    ],
    ids=lambda text: f"{text[:8]} {len(text)}",
)
def test_rejects_what_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError, match=r"padding|base64|ascii|characters"):
        decode_base64(text, start=0, max_bytes=10_000_000)


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_rejects_more_than_the_limit(size: int) -> None:
    with pytest.raises(Base64TooLong):
        decode_base64("A" * size, start=0, max_bytes=size * 3 // 4 - 1)
