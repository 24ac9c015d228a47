"""Parsers of data from outside raise only what they document: for the fuzzing corpus, and for changes of it.

`python -m scripts.fuzz` looks for more, guided by coverage.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.fuzz.targets import CORPUS, TARGETS
from tests.support.repeats import tries

FILES = sorted(path.relative_to(CORPUS) for path in CORPUS.glob("*/*"))
#: Bytes that mean something to one of the parsers.
TOKENS = [
    *(
        b"\0",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\r\n",
        b"--b",
        b"\xed\xa0\x80",
    ),
    *(b'"', b"[", b"{", b"}", b"null", b"-1", b"1e999", b"NaN", b"0" * 30, b"\\ud800"),
    *(b"{{", b"}}", b"{%"),
    *(b"PK\x01\x02", b"PK\x05\x06", b"IHDR", b"IEND", b"\xff\xd8", b"\xff\xc0", b"RIFF", b"VP8X", b"ftyp"),
]


def test_every_target_has_a_corpus() -> None:
    assert {file.parts[0] for file in FILES} == set(TARGETS)
    assert sum((CORPUS / file).stat().st_size for file in FILES) < 200_000


@pytest.mark.parametrize("file", FILES, ids=str)
def test_reads_the_corpus(file: Path) -> None:
    TARGETS[file.parts[0]]((CORPUS / file).read_bytes())


@pytest.mark.exhaustive
# The service does not show aiohttp's warnings about damaged headers (`multipart`).
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionParam")
@pytest.mark.parametrize("name", TARGETS)
def test_reads_or_rejects_changed_inputs(name: str) -> None:
    samples = [(CORPUS / file).read_bytes() for file in FILES if file.parts[0] == name]

    @settings(deadline=None, max_examples=tries(60), suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(samples), st.data())
    def read(sample: bytes, data: st.DataObject) -> None:
        TARGETS[name](changed(sample, data))

    read()


def changed(sample: bytes, data: st.DataObject) -> bytes:
    """Return the sample with up to four pieces replaced."""
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(sample)))
        end = data.draw(st.integers(start, min(len(sample), start + 16)))
        piece = data.draw(st.sampled_from(TOKENS) | st.binary(max_size=8))
        sample = sample[:start] + piece + sample[end:]
    return sample
