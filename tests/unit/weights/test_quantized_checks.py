"""Quantized files that are right, and every way in which their layers can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.weights.file_checks import inspect_numbers, inspect_weight_file
from tests.support.quantized_files import QuantizedFile
from tests.support.weight_files import weight


def problems(file: QuantizedFile, directory: Path, dtype: str) -> list[str]:
    path = directory / "file.safetensors"
    path.write_bytes(file.data())
    row = weight(file.data(), dtype=dtype, tensors={"blocks.0.lin.weight": (128, 64)})
    return inspect_weight_file(row, path) or inspect_numbers(path)


@pytest.mark.parametrize("kind", ["nvfp4", "mxfp8", "fp8"])
def test_a_quantized_file_is_right(kind: str, tmp_path: Path) -> None:
    assert problems(QuantizedFile(kind), tmp_path, kind) == []


@pytest.mark.parametrize("kind", ["nvfp4", "mxfp8", "fp8"])
def test_names_a_file_of_another_format(kind: str, tmp_path: Path) -> None:
    other = "nvfp4" if kind == "fp8" else "fp8"
    assert problems(QuantizedFile(kind), tmp_path, other) == [f"its dtype is {kind}, not {other}"]


def test_a_file_that_lists_its_layers_in_the_metadata_is_right(tmp_path: Path) -> None:
    file = QuantizedFile("nvfp4")
    file.drop("comfy_quant")
    file.metadata = {"_quantization_metadata": json.dumps({"layers": {"blocks.0.lin": {"format": "nvfp4"}}})}
    assert problems(file, tmp_path, "nvfp4") == []


def test_a_missing_comfy_quant_is_named(tmp_path: Path) -> None:
    file = QuantizedFile("nvfp4")
    file.drop("comfy_quant")
    assert "the layer blocks.0.lin has scales, but no comfy_quant" in problems(file, tmp_path, "nvfp4")


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": "nvfp5"}', b"{}"])
def test_an_unknown_format_is_named(text: bytes, tmp_path: Path) -> None:
    file = QuantizedFile("nvfp4")
    file.replace("comfy_quant", "U8", [len(text)], text)
    assert any("has the unknown format" in problem for problem in problems(file, tmp_path, "nvfp4"))


@pytest.mark.parametrize(
    ("kind", "name", "dtype", "shape", "words"),
    [
        ("nvfp4", "weight_scale", "F8_E4M3", [128, 3], "is F8_E4M3 [128, 3], not F8_E4M3 [128, 4]"),
        ("nvfp4", "weight_scale_2", "F32", [2], "is F32 [2], not F32 []"),
        ("nvfp4", "weight", "F8_E4M3", [128, 64], "is F8_E4M3 [128, 64], not nvfp4"),
        ("mxfp8", "weight_scale", "U8", [128, 2], "is U8 [128, 2], not U8 [128, 4]"),
        ("fp8", "weight_scale", "U8", [1], "is U8 [1], not F32 []"),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_named(
    kind: str, name: str, dtype: str, shape: list[int], words: str, tmp_path: Path
) -> None:
    file = QuantizedFile(kind)
    file.replace(name, dtype, shape)
    assert any(words in problem for problem in problems(file, tmp_path, kind))


@pytest.mark.parametrize(
    ("kind", "name"), [("nvfp4", "weight_scale_2"), ("mxfp8", "weight_scale"), ("fp8", "weight")]
)
def test_a_missing_tensor_is_named(kind: str, name: str, tmp_path: Path) -> None:
    file = QuantizedFile(kind)
    file.drop(name)
    assert any(f"has no {name}" in problem for problem in problems(file, tmp_path, kind))


@pytest.mark.parametrize(
    ("kind", "name", "byte", "words"),
    [
        ("nvfp4", "weight_scale", 0x7F, "negative, zero or not finite"),
        ("nvfp4", "weight_scale", 0x88, "negative, zero or not finite"),
        ("mxfp8", "weight_scale", 0xFF, "negative, zero or not finite"),
        ("mxfp8", "weight", 0xFF, "contains NaN"),
        ("fp8", "weight", 0x7F, "contains NaN"),
    ],
)
def test_numbers_that_are_none_are_named(kind: str, name: str, byte: int, words: str, tmp_path: Path) -> None:
    file = QuantizedFile(kind)
    file.set_byte(name, 5, byte)
    assert any(words in problem for problem in problems(file, tmp_path, kind))


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_named(number: float, tmp_path: Path) -> None:
    file = QuantizedFile("nvfp4")
    file.set_number("weight_scale_2", number)
    assert problems(file, tmp_path, "nvfp4") == [
        "weight_scale_2 of the layer blocks.0.lin has numbers that are negative, zero or not finite"
    ]


@pytest.mark.parametrize("kind", ["nvfp4", "mxfp8", "fp8"])
def test_scrambled_scales_of_a_file_of_ours_are_noticed(kind: str, tmp_path: Path) -> None:
    file = QuantizedFile(kind)
    file.sign()
    assert problems(file, tmp_path, kind) == []
    if kind == "fp8":
        file.set_number("weight_scale", 0.25)
    else:
        file.swap_bytes("weight_scale", 0, 1)
    assert problems(file, tmp_path, kind) == [
        "the layer blocks.0.lin has other scales than the file was made with"
    ]
