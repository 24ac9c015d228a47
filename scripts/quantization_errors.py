"""Measure what the rules of the quantization recipes save, on small networks with random weights.

    cd COMFYUI/source
    PYTHONPATH=.:REPOSITORY COMFYUI/venv/bin/python -m scripts.quantization_errors [ARCHITECTURE ...]

For each recipe, a network of its architecture is built by ComfyUI's own classes, narrow and of few blocks.
Each rule's layers alone are replaced by what NVFP4 makes of them; the figure is the norm of the change of the
output, relative to the output. The last line is for all layers of the blocks that no rule names. Random
weights have no outliers: real networks lose more where they have them, so the figures compare layers, not
models.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).resolve().parent.parent / "orchestrator" / "weights" / "quantizing" / "recipes"
SEED = 7
_BLOCK_NUMBER = re.compile(r"\.(\d+)\.")

args: Any = importlib.import_module("comfy.cli_args").args
args.cpu = True
torch: Any = importlib.import_module("torch")
kitchen: Any = importlib.import_module("comfy_kitchen")
operations: Any = importlib.import_module("comfy.ops").disable_weight_init
BUILD = {"dtype": torch.float32, "device": "cpu", "operations": operations}
FLUX = {
    "num_heads": 2,
    "hidden_size": 256,
    "context_in_dim": 64,
    "depth": 6,
    "depth_single_blocks": 6,
    "theta": 10000,
}


def flux() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.flux.model", "Flux")(
        **FLUX,
        image_model="flux",
        axes_dim=[16, 56, 56],
        mlp_ratio=4.0,
        out_channels=16,
        qkv_bias=True,
        txt_ids_dims=[],
        in_channels=16,
        patch_size=2,
        vec_in_dim=64,
        guidance_embed=False,
        **BUILD,
    )
    latent, text, vector = noise(1, 16, 16, 16), noise(1, 16, 64), noise(1, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text, y=vector)


def flux2() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.flux.model", "Flux")(
        **FLUX,
        image_model="flux2",
        axes_dim=[32] * 4,
        mlp_ratio=3.0,
        out_channels=128,
        global_modulation=True,
        mlp_silu_act=True,
        qkv_bias=False,
        ops_bias=False,
        default_ref_method="index",
        ref_index_scale=10.0,
        txt_ids_dims=[3],
        patch_size=1,
        in_channels=128,
        vec_in_dim=None,
        guidance_embed=False,
        **BUILD,
    )
    latent, text = noise(1, 128, 8, 8), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text)


def wan() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.wan.model", "WanModel")(
        model_type="t2v",
        patch_size=(1, 2, 2),
        dim=256,
        ffn_dim=1024,
        num_heads=2,
        num_layers=8,
        in_dim=16,
        out_dim=16,
        freq_dim=256,
        text_dim=64,
        **BUILD,
    )
    latent, text = noise(1, 16, 1, 16, 16), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([600.0]), text)


def hunyuan_video() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.hunyuan_video.model", "HunyuanVideo")(
        **FLUX,
        image_model="hunyuan_video",
        in_channels=16,
        patch_size=[1, 2, 2],
        out_channels=16,
        vec_in_dim=64,
        axes_dim=[16, 56, 56],
        mlp_ratio=4.0,
        qkv_bias=True,
        guidance_embed=False,
        byt5=False,
        meanflow=False,
        use_cond_type_embedding=False,
        vision_in_dim=None,
        meanflow_sum=False,
        **BUILD,
    )
    latent, text, vector = noise(1, 16, 1, 16, 16), noise(1, 16, 64), noise(1, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text, y=vector)


def qwen_image() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.qwen_image.model", "QwenImageTransformer2DModel")(
        in_channels=64,
        num_layers=8,
        patch_size=2,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=128,
        joint_attention_dim=64,
        axes_dims_rope=(16, 56, 56),
        **BUILD,
    )
    latent, text = noise(1, 16, 1, 16, 16), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text)


def z_image() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.lumina.model", "NextDiT")(
        image_model="lumina2",
        patch_size=2,
        in_channels=16,
        dim=256,
        cap_feat_dim=64,
        n_layers=8,
        qk_norm=True,
        n_heads=2,
        n_kv_heads=2,
        axes_dims=[32, 48, 48],
        axes_lens=[1536, 512, 512],
        rope_theta=256.0,
        ffn_dim_multiplier=8 / 3,
        z_image_modulation=True,
        time_scale=1000.0,
        pad_tokens_multiple=32,
        **BUILD,
    )
    latent, text = noise(1, 16, 16, 16), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text, num_tokens=16)


def ltx() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.lightricks.model", "LTXVModel")(
        num_layers=8,
        num_attention_heads=4,
        attention_head_dim=64,
        cross_attention_dim=256,
        caption_channels=64,
        **BUILD,
    )
    latent, text = noise(1, 128, 2, 8, 8), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text, None)


def sd3() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper")(
        depth=8,
        in_channels=16,
        patch_size=2,
        out_channels=16,
        adm_in_channels=64,
        num_patches=4096,
        pos_embed_max_size=64,
        input_size=None,
        qk_norm="rms",
        pos_embed_scaling_factor=None,
        x_block_self_attn_layers=[],
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": 64, "out_features": 512},
        },
        **BUILD,
    )
    latent, text, vector = noise(1, 16, 16, 16), noise(1, 16, 64), noise(1, 64)
    return model, lambda m: m(latent, torch.tensor([600.0]), context=text, y=vector)


def hidream() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.hidream.model", "HiDreamImageTransformer2DModel")(
        image_model="hidream",
        attention_head_dim=128,
        axes_dims_rope=[64, 32, 32],
        caption_channels=[64, 64],
        max_resolution=[128, 128],
        in_channels=16,
        llama_layers=[0] * 8,
        num_attention_heads=2,
        num_routed_experts=4,
        num_activated_experts=2,
        num_layers=4,
        num_single_layers=4,
        out_channels=16,
        patch_size=2,
        text_emb_dim=64,
        **BUILD,
    )
    latent, text, vector, llama = noise(1, 16, 16, 16), noise(1, 16, 64), noise(1, 64), noise(1, 1, 16, 64)
    return model, lambda m: m(
        latent, torch.tensor([600.0]), y=vector, context=text, encoder_hidden_states_llama3=llama
    )


def ernie_image() -> tuple[Any, Callable[[Any], Any]]:
    model = load("comfy.ldm.ernie.model", "ErnieImageModel")(
        hidden_size=256,
        num_attention_heads=2,
        num_layers=8,
        ffn_hidden_size=768,
        text_in_dim=64,
        rope_axes_dim=(32, 48, 48),
        **BUILD,
    )
    latent, text = noise(1, 128, 8, 8), noise(1, 16, 64)
    return model, lambda m: m(latent, torch.tensor([0.6]), text)


def t5() -> tuple[Any, Callable[[Any], Any]]:
    config = {
        "d_model": 256,
        "d_ff": 640,
        "d_kv": 64,
        "num_heads": 4,
        "num_layers": 8,
        "vocab_size": 128,
        "dense_act_fn": "gelu_pytorch_tanh",
        "is_gated_act": True,
        "model_type": "t5",
    }
    model = load("comfy.text_encoders.t5", "T5")(config, torch.float32, "cpu", operations)
    tokens = torch.arange(32).reshape(1, 32)
    return model, lambda m: m(tokens, attention_mask=None)[0]


def llm() -> tuple[Any, Callable[[Any], Any]]:
    config = {
        "vocab_size": 128,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    model = load("comfy.text_encoders.llama", "Qwen3_4B")(config, torch.float32, "cpu", operations)
    tokens = torch.arange(32).reshape(1, 32)
    return model, lambda m: m(tokens, attention_mask=None)[0]


NETWORKS = {
    "flux": flux,
    "flux2": flux2,
    "wan": wan,
    "hunyuan-video": hunyuan_video,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "ltx": ltx,
    "sd3": sd3,
    "hidream": hidream,
    "ernie-image": ernie_image,
    "t5": t5,
    "llm": llm,
}


def load(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def noise(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def initialise(model: Any) -> None:
    """Give matrices random numbers that preserve the variance, norms ones, and all else small numbers."""
    generator = torch.Generator().manual_seed(SEED)
    for name, value in model.named_parameters():
        data = torch.randn(value.shape, generator=generator)
        if value.dim() > 1 and not name.endswith("modulation"):
            # T5 does not divide its queries by the root of their width; its weights are trained for that.
            root = 8.0 if "SelfAttention.q" in name else 1.0
            value.copy_(data / value[0].numel() ** 0.5 / root)
        else:
            value.copy_(
                1 + data * 0.1 if "norm" in name and name.endswith(("weight", "scale")) else data * 0.1
            )


def narrow(weight: Any) -> Any:
    """Return what NVFP4 makes of a matrix."""
    scale = weight.abs().amax() / (448.0 * 6.0)
    numbers, scales = kitchen.quantize_nvfp4(weight, scale, pad_16x=True)
    return kitchen.dequantize_nvfp4(numbers, scale, scales, torch.float32)[
        : weight.shape[0], : weight.shape[1]
    ]


def measure(architecture: str) -> Iterator[tuple[str, float, int]]:
    """Yield rule, relative change of the output, and number of its layers."""
    recipe = tomllib.loads((RECIPES / f"{architecture}.toml").read_text("utf-8"))
    model, run = NETWORKS[architecture]()
    initialise(model)
    before = run(model).float()
    weights = {
        name.removesuffix(".weight"): value
        for name, value in model.named_parameters()
        if name.endswith(".weight") and value.dim() == 2 and re.match(recipe["blocks"], name)
    }
    unnamed = set(weights)
    for rule in [*recipe["rules"], None]:
        chosen = unnamed if rule is None else set(select(weights, rule))
        unnamed = unnamed - chosen if rule is not None else unnamed
        kept = {name: weights[name].clone() for name in chosen}
        for name in chosen:
            weights[name].copy_(narrow(weights[name]))
        change = (run(model).float() - before).norm() / before.norm()
        for name, value in kept.items():
            weights[name].copy_(value)
        yield ("all others" if rule is None else rule["layers"]), float(change), len(chosen)


def select(weights: Mapping[str, Any], rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield the layers that a rule is for."""
    first, last = rule.get("first", 0), rule.get("last", 0)
    for name in weights:
        if not re.search(rule["layers"], name):
            continue
        stack, number = block_of(name)
        depth = 1 + max(number for other in weights for one, number in [block_of(other)] if one == stack)
        if (not first and not last) or number < first or number >= depth - last:
            yield name


def block_of(name: str) -> tuple[str, int]:
    """Return the stack and the number of the block that a layer belongs to."""
    found = _BLOCK_NUMBER.search(f".{name}.")
    return (name[: found.start()], int(found[1])) if found else ("", 0)


def main() -> int:
    for architecture in sys.argv[1:] or NETWORKS:
        with torch.inference_mode():
            for rule, change, count in measure(architecture):
                print(f"{architecture:14} {change:8.4f}  {count:3}  {rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
