"""What a safetensors header tells, and every way in which it can lie."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.file_checks import compute_sha256, inspect_weight_file, read_safetensors_header
from tests.support.drafts import unhurried
from tests.support.weight_files import SMALL, put, safetensors, weight


def archive() -> bytes:
    """The kind of file that torch.save writes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("archive/data.pkl", b"x" * 5000)
    return made.getvalue()


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_reads_tensors_from_the_header(tmp_path: Path) -> None:
    file = put(tmp_path, weight())
    header = read_safetensors_header(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        "blocks.0.lin.weight": (16, 32),
        "norm": (8,),
    }
    assert header.dominant_dtype == "BF16"
    assert header.tensors["norm"].end == len(SMALL)
    assert inspect_weight_file(weight(), file) == []


WRONG = {
    "empty": (b"", "it is empty"),
    "short": (b"\x10\0\0", "truncated within its header"),
    "cut header": (SMALL[:60], "truncated within its header"),
    "cut data": (SMALL[:-100], "100 of .* bytes are missing"),
    "too long": (SMALL + b"more", "4 extra bytes"),
    "web page": (b"<!DOCTYPE html><title>Sign in</title>", "an HTML or XML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
    "pickle": (archive(), "a pickle archive of PyTorch"),
    "json": (b'{"error": "not found"}', "a JSON file"),
    "gguf": (b"GGUF" + bytes(100), "a GGUF file"),
    "not json": (raw(b"{" * 50), "header is not valid JSON"),
    "deep": (raw(b"[" * 100_000), "header is not valid JSON"),
    "list": (raw([1, 2]), "header is not a JSON object"),
    "type": (raw(entry(dtype="F7"), bytes(8)), "invalid entry for 'a'"),
    "no shape": (raw({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)), "invalid entry for 'a'"),
    "negative": (raw(entry(shape=[-2]), bytes(8)), "invalid entry for 'a'"),
    "fraction": (raw(entry(shape=[2.0]), bytes(8)), "invalid entry for 'a'"),
    "boolean": (raw(entry(shape=[True, 2]), bytes(8)), "invalid entry for 'a'"),
    "size": (raw(entry(shape=[3]), bytes(8)), "8 bytes, which do not match its shape"),
    "gap": (raw(entry(data_offsets=[4, 12]), bytes(12)), "overlaps another one or leaves a gap"),
    "overlap": (raw(entry() | {"b": entry()["a"]}, bytes(8)), "overlaps another one or leaves a gap"),
    "huge": ((2**63).to_bytes(8, "little") + b"{}", "not a safetensors file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_names_what_is_invalid(name: str, tmp_path: Path) -> None:
    data, words = WRONG[name]
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(BadWeightFile, match=words):
        read_safetensors_header(file)


@unhurried
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255), st.booleans())
def test_no_damage_goes_unnoticed_or_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: bool
) -> None:
    data = SMALL[:place] if cut else SMALL[:place] + bytes([byte]) + SMALL[place + 1 :]
    file = put(tmp_path_factory.mktemp("damage"), weight(), data)
    problems = inspect_weight_file(weight(), file)
    assert problems or compute_sha256(file) != weight().sha256 or data == SMALL


def test_a_file_of_another_network_or_type_is_named(tmp_path: Path) -> None:
    row = weight(dtype="fp8", tensors={"blocks.0.lin.weight": (32, 16), "img_in.weight": (3072, 64)})
    problems = inspect_weight_file(row, put(tmp_path, row))
    assert problems == [
        "its dtype is BF16, not fp8",
        "its tensor blocks.0.lin.weight has the shape [16, 32], not [32, 16]",
        "it has no tensor img_in.weight: it belongs to another network",
    ]


def test_the_type_is_that_of_most_numbers(tmp_path: Path) -> None:
    data = safetensors({"a.weight": ("F8_E4M3", [64, 64]), "b": ("F32", [16]), "c": ("U8", [27])})
    assert inspect_weight_file(weight(data, dtype="fp8"), put(tmp_path, weight(), data)) == []


@pytest.mark.parametrize(
    ("path", "data", "problems"),
    [
        ("a/b.pth", archive(), []),
        ("a/b.pth", archive()[:-30], ["it is truncated: the archive has no directory at its end"]),
        ("a/b.ckpt", b"\x80\x02old pickle", []),
        ("a/b.pt", b"<html>", ["it is not a PyTorch file"]),
        ("a/b.gguf", b"GGUF" + bytes(10), []),
        ("a/b.gguf", SMALL, ["it is not a GGUF file"]),
    ],
)
def test_reads_headers_of_other_formats(path: str, data: bytes, problems: list[str], tmp_path: Path) -> None:
    row = weight(data, path=path)
    assert inspect_weight_file(row, put(tmp_path, row, data)) == problems


def test_a_rounded_size_may_be_a_little_off(tmp_path: Path) -> None:
    rounded = weight(sha256="", bytes=int(len(SMALL) * 1.01))
    assert inspect_weight_file(rounded, put(tmp_path, rounded)) == []
    assert inspect_weight_file(weight(bytes=len(SMALL) + 1), put(tmp_path, rounded)) == [
        f"it has {len(SMALL)} bytes, not {len(SMALL) + 1}"
    ]


def test_what_a_loader_converts_may_be_of_another_type(tmp_path: Path) -> None:
    row = weight(dtype="fp8", load_as="fp8_e4m3fn")
    assert inspect_weight_file(row, put(tmp_path, row)) == []
