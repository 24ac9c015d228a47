"""JSON bodies: what is large is parsed piece by piece, with the same result as in one go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest
from orchestrator.web.http.json_bodies import MAX_SMALL_BYTES, parse_json_object

MIB = 2**20
LARGE = "A" * (MAX_SMALL_BYTES + 1)

TEXTS = {
    "ascii": "A" * 3 * MIB,
    "line breaks": "QUJD\n" * 600_000,
    "escaped slashes": "ab/" * 900_000,
    "two-byte characters": "é" * 2 * MIB,
    "four-byte characters": "🖼" * MIB,
    "mixed": "é\\/🖼\t" * 300_000,
    "escapes only": "\t" * MIB,
    "quotes at the end": "A" * 2 * MIB + '"\\"',
    "looks like a stand-in": "\0cut 0" + "A" * 2 * MIB,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("ascii_only", [False, True], ids=["as it is", "escaped"])
def test_parses_long_texts_like_the_standard_library(name: str, ascii_only: bool) -> None:
    fields: dict[str, Any] = {"before": [1, {"a": None}], "text": TEXTS[name], "after": "\0cut 1 ", "n": 2.5}
    assert parse_json_object(json.dumps(fields, ensure_ascii=ascii_only).encode()) == fields


def test_parses_slashes_that_php_escapes() -> None:
    text = "ab/c" * MIB
    raw = json.dumps({"image": text}).replace("/", "\\/").encode()
    assert parse_json_object(raw) == {"image": text}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=12), st.integers(1, 900)), min_size=1, max_size=8),
    st.booleans(),
)
def test_parses_any_texts_like_the_standard_library(parts: list[tuple[str, int]], ascii_only: bool) -> None:
    fields = {f"{number}{text[:1]}": text * times for number, (text, times) in enumerate(parts)}
    raw = json.dumps({"large": LARGE, **fields}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert parse_json_object(raw) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        (b'{"a": [' + b"1," * MIB + b"1]}", "256 KiB"),
        (b'{"a": ' + b"[" * MIB + b"]" * MIB + b"}", "256 KiB"),
        (b'{"a": [' + b'"",' * 200_000 + b'""]}', "100000 quotation marks"),
        (b'{"a": "' + b'\\"' * 400_000 + b'"}', "100000 quotation marks"),
        (b"\xff\xfe" + LARGE.encode(), "256 KiB"),
    ],
)
def test_rejects_bodies_with_too_much_beside_long_texts(raw: bytes, limit: str) -> None:
    with pytest.raises(
        InvalidRequest, match=f"larger than the limit of {limit}, .* Send fewer objects"
    ) as refused:
        parse_json_object(raw)
    assert refused.value.code == "payload_too_large"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": "' + b"\\\\" * 3 * MIB + b'"}', "backslashes"),
        (b'{"a": "' + b"\\" * (3 * MIB + 1) + b'"}', "backslashes"),
        (b'{"a": "' + LARGE.encode(), "no end"),
        (b'{"a": "' + LARGE.encode() + b'"', "delimiter"),
        (b'{"a": "' + LARGE.encode() + b'" "b"}', "delimiter"),
        (b'{"a": "' + LARGE.encode() + b"\n" + b'"}', "control character"),
        (b'{"a": "' + LARGE.encode() + b"\xff" + b'"}', "decode"),
        (b'{"a": "' + LARGE.encode() + b"\\x" + b'"}', "escape"),
        (b'["' + LARGE.encode() + b'"]', "got list"),
        (b'"' + LARGE.encode() + b'"', "got str"),
    ],
)
def test_rejects_large_bodies_that_are_no_object_or_take_long(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        parse_json_object(raw)
    assert refused.value.code == "invalid_json"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    "raw",
    [
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": "a", "prompt": "a"}',
        b'{"images": [{"image_url": "a", "image_url": "b"}]}',
        b'{"\\u0061": 1, "a": 2}',
        b'{"a": "' + LARGE.encode() + b'", "a": 1}',
        b'{"' + LARGE.encode() + b'": 1, "' + LARGE.encode() + b'": 2}',
    ],
)
def test_rejects_a_name_that_an_object_has_twice(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="twice; send it once") as refused:
        parse_json_object(raw)
    assert refused.value.code == "invalid_json"
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("further", ["", LARGE], ids=["small", "large"])
def test_names_two_nodes_of_a_graph_that_have_one_id(further: str) -> None:
    nodes = [f'"7": {{"class_type": "{name}", "inputs": {{}}}}' for name in ("KSampler", "SaveImage")]
    raw = f'{{"prompt": {{{", ".join(nodes)}}}, "further": "{further}"}}'.encode()
    with pytest.raises(InvalidRequest, match="two nodes have the id '7': KSampler and SaveImage"):
        parse_json_object(raw)


def test_rejects_a_number_with_very_many_digits_in_plain_words() -> None:
    with pytest.raises(InvalidRequest, match="a number has 5000 digits; at most 1000 are read") as refused:
        parse_json_object(b'{"seed": ' + b"1" * 5000 + b"}")
    assert refused.value.code == "invalid_json"


def test_reads_whole_numbers_as_integers() -> None:
    fields = parse_json_object(b'{"n": 4.0, "steps": [2e1, -3.0], "cfg_scale": 2.5, "large": 1e300}')
    assert [(type(value), value) for value in fields["steps"]] == [(int, 20), (int, -3)]
    assert (type(fields["n"]), fields["n"], fields["cfg_scale"], fields["large"]) == (int, 4, 2.5, 1e300)


def test_parses_small_and_large_bodies_alike() -> None:
    raw = b'{"n": 4.0, "text": "' + LARGE.encode() + b'"}'
    assert type(parse_json_object(raw)["n"]) is int
