"""Tensors of tiny networks, under the names and in the shapes by which ComfyUI recognises them.

Every function gives the same numbers each time. What should show something recognisable passes its input
through; the rest is random, as before any training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from scripts.tiny.formats import Array, zeros

Shapes = Iterator[tuple[str, tuple[int, ...]]]

#: Width of the text encoder, and with it of all that listens to it.
TEXT = 768
#: Width of the denoiser, the only one that ComfyUI takes for Stable Diffusion 1.5.
UNET = 320
#: Width of one attention head of the video denoiser, which is also all of its width.
WAN = 128
LATENT_CHANNELS = 16
#: Decoders take latents within plus and minus this.
LATENT_LIMIT = 3.0


def esrgan() -> dict[str, Array]:
    """An upscaler by four with one block that adds nothing: each pixel becomes 4x4 pixels of its colour."""
    width, growth = 8, 32
    passed = _passing(width, width)
    tensors = {"model.0.weight": _passing(width, 3), "model.0.bias": zeros((width,))}
    for dense in (1, 2, 3):
        for number in range(1, 6):
            shape = (width if number == 5 else growth, width + (number - 1) * growth, 3, 3)
            name = f"model.1.sub.0.RDB{dense}.conv{number}.0"
            tensors |= {f"{name}.weight": zeros(shape), f"{name}.bias": zeros(shape[:1])}
    tensors |= {"model.1.sub.1.weight": zeros(passed.shape), "model.1.sub.1.bias": zeros((width,))}
    for layer in (3, 6, 8):
        tensors |= {f"model.{layer}.weight": passed, f"model.{layer}.bias": zeros((width,))}
    return tensors | {"model.10.weight": _passing(3, width), "model.10.bias": zeros((3,))}


def clip_l() -> dict[str, Array]:
    """The text encoder of Stable Diffusion 1.5 with layers that add nothing: what it says of a prompt are
    its words and their places."""
    random = np.random.default_rng(1)
    tensors = {
        "text_model.embeddings.token_embedding.weight": _random(random, (49408, TEXT)),
        "text_model.embeddings.position_embedding.weight": _random(random, (77, TEXT)),
        "text_model.final_layer_norm.weight": np.ones(TEXT, np.float16),
        "text_model.final_layer_norm.bias": zeros((TEXT,), np.float16),
    }
    for layer in range(12):
        prefix = f"text_model.encoder.layers.{layer}"
        shapes = [(f"self_attn.{name}_proj", TEXT, TEXT) for name in ("q", "k", "v", "out")]
        for name, out, into in [*shapes, ("mlp.fc1", 4 * TEXT, TEXT), ("mlp.fc2", TEXT, 4 * TEXT)]:
            tensors[f"{prefix}.{name}.weight"] = zeros((out, into), np.float16)
            tensors[f"{prefix}.{name}.bias"] = zeros((out,), np.float16)
        for norm in ("layer_norm1", "layer_norm2"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(TEXT, np.float16)
            tensors[f"{prefix}.{norm}.bias"] = zeros((TEXT,), np.float16)
    return tensors


def stable_diffusion() -> dict[str, Array]:
    """A whole checkpoint: denoiser, text encoder, and a VAE whose latents are small pictures."""
    return {
        **{f"model.diffusion_model.{name}": array for name, array in _initial(_unet(), seed=2).items()},
        **{f"cond_stage_model.transformer.{name}": array for name, array in clip_l().items()},
        **{f"first_stage_model.{name}": array for name, array in _taesd().items()},
    }


def wan() -> dict[str, Array]:
    """A text-to-video denoiser of two blocks; it needs `WAN_CONFIG` among its file's metadata."""
    return _initial(_wan(), seed=3)


#: Says that the text is `TEXT` wide and not 4096 as the real encoder's.
WAN_CONFIG = {"config": f'{{"transformer": {{"text_dim": {TEXT}}}}}'}


def video_decoder() -> dict[str, Array]:
    """Of latents in 16 channels: fourfold in time, eightfold in space, three channels to be seen."""
    tensors = {"decoder.1.weight": _passing(256, LATENT_CHANNELS), "decoder.1.bias": _offset(256)}
    for first, width, narrower, frames in ((3, 256, 128, 1), (9, 128, 64, 2), (15, 64, 64, 2)):
        for block in range(first, first + 3):
            tensors |= _idle_block(f"decoder.{block}", width, 2 * width)
        same = np.eye(width, dtype=np.float32).reshape(width, width, 1, 1)
        tensors[f"decoder.{first + 4}.conv.weight"] = np.concatenate([same] * frames)
        tensors[f"decoder.{first + 5}.weight"] = _passing(narrower, width)
    return tensors | {"decoder.22.weight": _shown(64), "decoder.22.bias": zeros((3,))}


def _taesd() -> dict[str, Array]:
    """Encoder and decoder of latents in four channels: eightfold in space, three channels to be seen."""
    encoder = {f"taesd_encoder.{name}": array for name, array in _taesd_encoder().items()}
    return encoder | {f"taesd_decoder.{name}": array for name, array in _taesd_decoder().items()}


def _taesd_encoder() -> dict[str, Array]:
    """Takes every eighth pixel, and spreads its 0..1 over the range of latents."""
    spread = _passing(4, 64)
    spread *= 2 * LATENT_LIMIT
    tensors = {"0.weight": _passing(64, 3), "0.bias": zeros((64,))}
    for block in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        tensors |= _idle_block(str(block), 64, 64)
    tensors |= {f"{layer}.weight": _passing(64, 64) for layer in (2, 6, 10)}
    return tensors | {"14.weight": spread, "14.bias": -_offset(4)}


def _taesd_decoder() -> dict[str, Array]:
    tensors = {"1.weight": _passing(64, 4), "1.bias": _offset(64)}
    for block in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        tensors |= _idle_block(str(block), 64, 64)
    tensors |= {f"{layer}.weight": _passing(64, 64) for layer in (7, 12, 17)}
    return tensors | {"19.weight": _shown(64), "19.bias": zeros((3,))}


def _passing(out: int, into: int) -> Array:
    """A convolution of 3x3 that gives each channel on as it is."""
    kernel = np.zeros((out, into, 3, 3), np.float32)
    kernel[:, :, 1, 1] = np.eye(out, into)
    return kernel


def _shown(into: int) -> Array:
    """The last convolution: from 0..2*LATENT_LIMIT to the 0..1 of a picture."""
    kernel = _passing(3, into)
    kernel /= 2 * LATENT_LIMIT
    return kernel


def _offset(width: int) -> Array:
    """The first bias: nothing is negative afterwards, so that no activation cuts anything off."""
    return np.full(width, LATENT_LIMIT, np.float32)


def _idle_block(prefix: str, width: int, into: int) -> dict[str, Array]:
    """A residual block that adds nothing."""
    tensors: dict[str, Array] = {}
    for layer, channels in ((0, into), (2, width), (4, width)):
        tensors[f"{prefix}.conv.{layer}.weight"] = zeros((width, channels, 3, 3))
        tensors[f"{prefix}.conv.{layer}.bias"] = zeros((width,))
    return tensors


def _unet() -> Shapes:
    """Two resolutions with one block each."""
    yield from _layer("time_embed.0", 4 * UNET, UNET)
    yield from _layer("time_embed.2", 4 * UNET, 4 * UNET)
    yield from _layer("input_blocks.0.0", UNET, 4, 3, 3)
    yield from _unet_residual("input_blocks.1.0", UNET)
    yield from _layer("input_blocks.2.0.op", UNET, UNET, 3, 3)
    yield from _unet_residual("input_blocks.3.0", UNET)
    yield from _unet_attention("input_blocks.3.1")
    yield from _unet_residual("middle_block.0", UNET)
    yield from _unet_attention("middle_block.1")
    yield from _unet_residual("middle_block.2", UNET)
    for block in range(4):
        yield from _unet_residual(f"output_blocks.{block}.0", 2 * UNET)
        yield from _layer(f"output_blocks.{block}.0.skip_connection", UNET, 2 * UNET, 1, 1)
    for block in (0, 1):
        yield from _unet_attention(f"output_blocks.{block}.1")
    yield from _layer("output_blocks.1.2.conv", UNET, UNET, 3, 3)
    yield from _layer("out.0", UNET)
    yield from _layer("out.2", 4, UNET, 3, 3)


def _unet_residual(prefix: str, into: int) -> Shapes:
    yield from _layer(f"{prefix}.in_layers.0", into)
    yield from _layer(f"{prefix}.in_layers.2", UNET, into, 3, 3)
    yield from _layer(f"{prefix}.emb_layers.1", UNET, 4 * UNET)
    yield from _layer(f"{prefix}.out_layers.0", UNET)
    yield from _layer(f"{prefix}.out_layers.3", UNET, UNET, 3, 3)


def _unet_attention(prefix: str) -> Shapes:
    block = f"{prefix}.transformer_blocks.0"
    yield from _layer(f"{prefix}.norm", UNET)
    for end in ("proj_in", "proj_out"):
        yield from _layer(f"{prefix}.{end}", UNET, UNET, 1, 1)
    for attention, listened in (("attn1", UNET), ("attn2", TEXT)):
        yield f"{block}.{attention}.to_q.weight", (UNET, UNET)
        yield f"{block}.{attention}.to_k.weight", (UNET, listened)
        yield f"{block}.{attention}.to_v.weight", (UNET, listened)
        yield from _layer(f"{block}.{attention}.to_out.0", UNET, UNET)
    yield from _layer(f"{block}.ff.net.0.proj", 8 * UNET, UNET)
    yield from _layer(f"{block}.ff.net.2", UNET, 4 * UNET)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _layer(f"{block}.{norm}", UNET)


def _wan() -> Shapes:
    yield from _layer("patch_embedding", WAN, LATENT_CHANNELS, 1, 2, 2)
    yield from _layer("text_embedding.0", WAN, TEXT)
    yield from _layer("text_embedding.2", WAN, WAN)
    yield from _layer("time_embedding.0", WAN, 256)
    yield from _layer("time_embedding.2", WAN, WAN)
    yield from _layer("time_projection.1", 6 * WAN, WAN)
    for block in ("blocks.0", "blocks.1"):
        yield f"{block}.modulation", (1, 6, WAN)
        for attention in ("self_attn", "cross_attn"):
            for name in ("q", "k", "v", "o"):
                yield from _layer(f"{block}.{attention}.{name}", WAN, WAN)
            yield f"{block}.{attention}.norm_q.weight", (WAN,)
            yield f"{block}.{attention}.norm_k.weight", (WAN,)
        yield from _layer(f"{block}.norm3", WAN)
        yield from _layer(f"{block}.ffn.0", 2 * WAN, WAN)
        yield from _layer(f"{block}.ffn.2", WAN, 2 * WAN)
    yield "head.modulation", (1, 2, WAN)
    yield from _layer("head.head", 4 * LATENT_CHANNELS, WAN)


def _layer(name: str, *shape: int) -> Shapes:
    """Weight and bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _initial(shapes: Shapes, seed: int) -> dict[str, Array]:
    """As before any training: norms that scale by one, no biases, weights that keep their input's spread."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for name, shape in shapes:
        if len(shape) > 1:
            tensors[name] = _random(random, shape)
        else:
            tensors[name] = np.full(shape, name.endswith(".weight"), np.float16)
    return tensors


def _random(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    weights: Array = random.standard_normal(shape, np.float32)
    weights /= math.sqrt(math.prod(shape[1:]))
    return weights.astype(np.float16)
