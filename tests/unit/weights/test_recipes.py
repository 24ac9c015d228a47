"""Recipes: which architecture a file is of, and what becomes of its layers."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path

import pytest

from orchestrator.media.tensors import TensorInfo
from orchestrator.weights.errors import BadWeightFile, WeightError
from orchestrator.weights.quantizing.formats import FP8, MXFP8, NVFP4, QuantizedFormat
from orchestrator.weights.quantizing.layout import lay_out
from orchestrator.weights.quantizing.recipes import (
    GENERIC,
    RECIPES_DIR,
    Decision,
    RecipeDecisions,
    find_recipe,
    load_recipes,
)
from orchestrator.weights.quantizing.sources import SourceTensor, WeightSource

#: Names and shapes of the tensors of whole networks, as ComfyUI 0.33's own classes build them; runs of equal
#: blocks are cut to twelve.
NETWORKS_FILE = Path(__file__).parents[2] / "support" / "network_tensors.json.gz"
RECIPES = load_recipes()


@cache
def networks() -> dict[str, dict[str, list[int]]]:
    loaded: dict[str, dict[str, list[int]]] = json.loads(gzip.decompress(NETWORKS_FILE.read_bytes()))
    return loaded


ARCHITECTURES = {
    "flux-1-dev": "flux",
    "flux-2-dev": "flux2",
    "flux-2-klein-4b": "flux2",
    "flux-2-klein-9b": "flux2",
    "wan2.1-t2v-14b": "wan",
    "wan2.1-i2v-14b": "wan",
    "wan2.2-5b": "wan",
    "wan2.2-animate": "wan",
    "hunyuan-video": "hunyuan-video",
    "hunyuan-video-1.5": "hunyuan-video",
    "qwen-image": "qwen-image",
    "z-image-turbo": "z-image",
    "ltxv": "ltx",
    "ltx2": "ltx",
    "sd3.5-large": "sd3",
    "hidream-i1": "hidream",
    "hidream-o1": "hidream-o1",
    "ernie-image": "ernie-image",
    "sdxl": "sdxl",
    "t5xxl": "t5",
    "umt5": "t5",
    "qwen3-4b": "llm",
    "mistral-24b": "llm",
    "gemma3-12b": "llm",
    "qwen2.5-vl-7b": "llm",
}


def source(tensors: dict[str, list[int]], dtype: str = "BF16", prefix: str = "") -> WeightSource:
    rows = {
        prefix + name: SourceTensor(Path("all"), TensorInfo(dtype, tuple(shape), 0, 0))
        for name, shape in tensors.items()
    }
    return WeightSource((Path("all"),), rows, {})


def decide(network: str, kind: QuantizedFormat, keep: str = "", prefix: str = "") -> dict[str, Decision]:
    made = source(networks()[network], prefix=prefix)
    found = find_recipe(made.tensors.keys(), RECIPES, None)
    return RecipeDecisions(found, kind, keep).decide(made)


def test_networks_of_the_catalogue_are_all_here() -> None:
    assert set(ARCHITECTURES) == set(networks())
    assert set(ARCHITECTURES.values()) == set(RECIPES) - {GENERIC}


@pytest.mark.parametrize("network", ARCHITECTURES)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_finds_the_architecture_by_the_names_of_tensors(network: str, prefix: str) -> None:
    names = [prefix + name for name in networks()[network]]
    if prefix not in RECIPES[ARCHITECTURES[network]].prefixes:
        pytest.skip("text encoders are files of their own")
    found = find_recipe(names, RECIPES, None)
    assert (found.recipe.architecture, found.prefix) == (ARCHITECTURES[network], prefix)


def test_a_checkpoint_with_text_encoders_is_of_the_architecture_of_its_denoiser() -> None:
    names = [f"model.diffusion_model.{name}" for name in networks()["sd3.5-large"]]
    names += [f"text_encoders.t5xxl.transformer.{name}" for name in networks()["t5xxl"]]
    assert find_recipe(names, RECIPES, None).recipe.architecture == "sd3"


def test_an_unknown_network_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadWeightFile, match=r"not clear .* name it by --recipe \(.*generic"):
        find_recipe(["blocks.0.weight"], RECIPES, None)
    assert find_recipe(["blocks.0.weight"], RECIPES, GENERIC).recipe.architecture == GENERIC
    with pytest.raises(WeightError, match="unknown recipe 'fluks'; use one of"):
        find_recipe(["blocks.0.weight"], RECIPES, "fluks")
    with pytest.raises(BadWeightFile, match=r"has no tensor .*double_blocks"):
        find_recipe(networks()["ltxv"], RECIPES, "flux")


@pytest.mark.parametrize("network", ARCHITECTURES)
def test_most_of_a_network_is_quantized_and_what_is_not_has_a_reason(network: str) -> None:
    shapes = networks()[network]
    decisions = decide(network, NVFP4)
    sizes = {
        name: shape[0] * shape[1]
        for name, shape in shapes.items()
        if len(shape) == 2 and not re.search(r"embed_tokens|shared", name)
    }
    quantized = sum(size for name, size in sizes.items() if decisions[name].format)
    assert quantized > 0.6 * sum(sizes.values()), "only twelve blocks of each stack are here"
    assert any(one.format is NVFP4 for one in decisions.values())
    for name, one in decisions.items():
        assert one.format is NVFP4 or one.reason, name
        if one.format is not None:
            assert all(side % one.format.side_multiple == 0 for side in shapes[name]), name


def test_matrices_by_which_comfyui_detects_a_width_are_not_packed() -> None:
    """Of what its detection reads the columns of, only these are within repeated blocks."""
    assert decide("ltx2", NVFP4)["transformer_blocks.0.attn2.to_k.weight"].format is None
    attention = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    assert (
        decide("sdxl", NVFP4, prefix="model.diffusion_model.")[f"model.diffusion_model.{attention}"].format
        is None
    )
    for kind in (NVFP4, MXFP8, FP8):
        for name in ("txt_in.weight", "img_in.weight", "vector_in.in_layer.weight"):
            assert decide("flux-1-dev", kind)[name].format is None


def test_first_and_last_blocks_keep_their_type_and_sensitive_layers_take_eight_bits() -> None:
    decisions = decide("wan2.1-t2v-14b", NVFP4)
    kinds = {name: one.format for name, one in decisions.items()}
    assert kinds["blocks.0.ffn.0.weight"] is None
    assert kinds["blocks.11.ffn.2.weight"] is None
    assert kinds["blocks.5.ffn.0.weight"] is NVFP4
    assert kinds["blocks.5.self_attn.q.weight"] is FP8
    assert decide("wan2.1-t2v-14b", MXFP8)["blocks.5.self_attn.q.weight"].format is MXFP8


def test_stacks_of_few_blocks_are_not_kept_whole() -> None:
    two = {
        name: shape
        for name, shape in networks()["wan2.1-t2v-14b"].items()
        if not re.match(r"blocks\.([2-9]|1\d)", name)
    }
    made = source(two)
    decisions = RecipeDecisions(find_recipe(two, RECIPES, None), NVFP4).decide(made)
    assert decisions["blocks.0.ffn.0.weight"].format is NVFP4


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(WeightError, match=r"--keep must be a regular expression .* \(got '\[': unterminated"):
        decide("flux-1-dev", NVFP4, keep="[")


def test_keep_wins_over_the_recipe() -> None:
    kept = decide("flux-1-dev", NVFP4, keep=r"single_blocks\.")
    assert {
        one.reason for name, one in kept.items() if "single_blocks" in name and "linear1.weight" in name
    } == {"kept by --keep"}
    assert kept["double_blocks.3.img_mlp.0.weight"].format is NVFP4


def test_a_laid_out_file_has_what_the_loader_reads() -> None:
    made = source({"blocks.0.weight": [256, 128], "blocks.0.bias": [256]})
    layout = lay_out(
        made, {"blocks.0.weight": Decision(NVFP4), "blocks.0.bias": Decision(None)}, GENERIC, NVFP4
    )
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in layout.tensors} == {
        "blocks.0.weight": ("U8", (256, 64)),
        "blocks.0.weight_scale": ("F8_E4M3", (256, 8)),
        "blocks.0.bias": ("BF16", (256,)),
        "blocks.0.weight_scale_2": ("F32", ()),
        "blocks.0.comfy_quant": ("U8", (19,)),
    }
    assert len(layout.header()) == len(layout.header({"blocks.0": "f" * 16}))


def test_every_rule_has_its_reason_and_a_measured_error() -> None:
    for name, recipe in RECIPES.items():
        text = (RECIPES_DIR / f"{name}.toml").read_text("utf-8")
        assert text.count("[[rules]]") == len(recipe.rules) > 0
        assert all(rule.reason and 0 < rule.error < 1 for rule in recipe.rules)


def test_a_recipe_that_is_wrong_is_named_with_its_field(tmp_path: Path) -> None:
    text = (RECIPES_DIR / "wan.toml").read_text("utf-8")
    for old, new, words in (
        ('store = "fp8"', 'store = "fp6"', "rules"),
        ("error = ", "errors = ", "rules"),
        ('architecture = "wan"', 'architecture = "van"', "`architecture` must be 'wan'"),
        ("layers = 'blocks", "layers = '(blocks", "is not a regular expression"),
    ):
        (tmp_path / "wan.toml").write_text(text.replace(old, new, 1))
        load_recipes.cache_clear()
        with pytest.raises(WeightError, match=words):
            load_recipes(tmp_path)
    load_recipes.cache_clear()
