"""What may be quantized, and what is refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.quantizing.formats import FP8, NVFP4
from orchestrator.weights.quantizing.recipes import GENERIC
from orchestrator.weights.quantizing.running import QuantizationOptions, plan_quantization
from orchestrator.weights.quantizing.sources import open_source
from tests.support.weight_files import safetensors

BLOCK = {"blocks.0.lin.weight": ("BF16", [64, 64]), "blocks.0.lin.bias": ("BF16", [64])}
NVFP4_ANY = QuantizationOptions(format=NVFP4, recipe=GENERIC)


def write_shards(folder: Path) -> Path:
    folder.mkdir()
    names = {}
    for number, (name, spec) in enumerate(BLOCK.items()):
        shard = f"model-{number}.safetensors"
        (folder / shard).write_bytes(safetensors({name: spec}))
        names[name] = shard
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


def test_reads_a_single_file_and_a_folder_of_shards_alike(tmp_path: Path) -> None:
    single = tmp_path / "one.safetensors"
    single.write_bytes(safetensors(BLOCK, __metadata__={"config": "x"}))
    shards = write_shards(tmp_path / "shards")
    for path in (single, shards, shards / "model.safetensors.index.json"):
        planned = plan_quantization(path, NVFP4_ANY)
        assert [layer.name for layer in planned.layout.layers] == ["blocks.0.lin"]
        assert planned.layout.format is NVFP4
    assert plan_quantization(single, NVFP4_ANY).layout.metadata == {"config": "x"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GGUF" + bytes(100), "a GGUF file; it must be a complete safetensors file of 16 or 32 bits"),
        (safetensors(BLOCK)[:-20], "20 of .* bytes are missing"),
        (
            safetensors({**BLOCK, "blocks.0.lin.comfy_quant": ("U8", [4])}),
            "already quantized .* was made from",
        ),
        (safetensors({"scaled_fp8": ("F32", [1]), **BLOCK}), "already quantized"),
        (safetensors({"blocks.0.lin.weight": ("F8_E4M3", [64, 64])}), "already quantized"),
        (safetensors({"blocks.0.lin.weight": ("BF16", [8, 8])}), "nothing to quantize"),
        (safetensors({"embed.weight": ("BF16", [64, 64])}), "nothing to quantize"),
        (
            safetensors({"single_transformer_blocks.0.attn.to_q.weight": ("BF16", [64, 64])}),
            r"diffusers gives to FLUX\.1; .* use the single file",
        ),
    ],
)
def test_refuses_what_cannot_be_quantized(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "source.safetensors"
    file.write_bytes(data)
    with pytest.raises(BadWeightFile, match=words):
        plan_quantization(file, NVFP4_ANY)


def test_refuses_shards_that_are_incomplete_or_elsewhere(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards")
    index = shards / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    for changed, words in (
        ({"weight_map": names | {"more.weight": "model-1.safetensors"}}, "'more.weight', which no shard has"),
        (
            {"weight_map": names | {"a": "../secret.safetensors"}},
            "'../secret.safetensors', which is not in its",
        ),
        ({"weight_map": names | {"a": "model-9.safetensors"}}, "'model-9.safetensors', which is not in its"),
        ({"tensors": {}}, "has no `weight_map`"),
        ({"weight_map": 3}, "has no `weight_map`"),
    ):
        index.write_text(json.dumps(changed))
        with pytest.raises(BadWeightFile, match=words):
            open_source(shards)
    index.unlink()
    (shards / "transformer").mkdir()
    with pytest.raises(BadWeightFile, match=r"with 0 files .* name .*transformer"):
        open_source(shards)


def test_fp8_needs_sides_of_sixteen_and_the_layout_says_so(tmp_path: Path) -> None:
    file = tmp_path / "source.safetensors"
    file.write_bytes(
        safetensors({"blocks.0.a.weight": ("F16", [80, 96]), "blocks.0.b.weight": ("F16", [81, 96])})
    )
    planned = plan_quantization(file, QuantizationOptions(format=FP8, recipe=GENERIC))
    assert [layer.name for layer in planned.layout.layers] == ["blocks.0.a"]
    assert "multiples of 16" in planned.decisions["blocks.0.b.weight"].reason


def test_a_checkpoint_gets_the_parts_that_it_lacks(tmp_path: Path) -> None:
    source, parts = tmp_path / "denoiser.safetensors", tmp_path / "all.safetensors"
    inner = "model.diffusion_model.blocks.0.lin.weight"
    source.write_bytes(safetensors({inner: ("BF16", [64, 64]), "first_stage_model.a": ("BF16", [2])}))
    encoder = {
        "text_encoders.t5.weight": ("F8_E4M3", [64, 64]),
        "text_encoders.t5.scale_weight": ("F32", [1]),
        "model.diffusion_model.scaled_fp8": ("U8", [2]),
        "first_stage_model.a": ("F32", [4]),
    }
    parts.write_bytes(safetensors(encoder))
    options = QuantizationOptions(format=NVFP4, recipe=GENERIC, parts=parts)
    planned = plan_quantization(source, options)
    names = {tensor.name: tensor.dtype for tensor in planned.layout.tensors}
    assert names["text_encoders.t5.weight"] == "F8_E4M3"
    assert names["first_stage_model.a"] == "BF16"
    assert "model.diffusion_model.scaled_fp8" not in names
    assert names[inner] == "U8"
    with pytest.raises(BadWeightFile, match="has nothing that SOURCE lacks"):
        plan_quantization(source, QuantizationOptions(format=NVFP4, recipe=GENERIC, parts=source))
