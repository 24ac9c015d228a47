"""Tensors of tiny networks, with the names and shapes by which ComfyUI recognises them.

Every function is deterministic. Networks whose output should be recognisable pass their input through;
the others have random weights, as before training.
"""

from __future__ import annotations

import numpy as np

from scripts.tiny.formats import Array, repeated_zeros
from scripts.tiny.shapes import Shapes, init_tensors, layer_shapes, random_array

#: Width of the text encoder and of all layers that attend to it.
TEXT_WIDTH = 768
#: Width of the denoiser; ComfyUI detects Stable Diffusion 1.5 only at this width.
UNET_WIDTH = 320
#: Width of the transformer, which has one attention head of width 64 per block.
MMDIT_WIDTH = 128
#: Decoders accept latents in -LATENT_LIMIT..LATENT_LIMIT.
LATENT_LIMIT = 3.0


def esrgan() -> dict[str, Array]:
    """Return a 4x upscaler whose one block adds zero: each pixel becomes 4x4 pixels of its colour."""
    width, growth = 8, 32
    passed = _identity_convolution(width, width)
    tensors = {"model.0.weight": _identity_convolution(width, 3), "model.0.bias": repeated_zeros((width,))}
    for dense in (1, 2, 3):
        for number in range(1, 6):
            shape = (width if number == 5 else growth, width + (number - 1) * growth, 3, 3)
            name = f"model.1.sub.0.RDB{dense}.conv{number}.0"
            tensors |= {f"{name}.weight": repeated_zeros(shape), f"{name}.bias": repeated_zeros(shape[:1])}
    tensors |= {
        "model.1.sub.1.weight": repeated_zeros(passed.shape),
        "model.1.sub.1.bias": repeated_zeros((width,)),
    }
    for place in (3, 6, 8):
        tensors |= {f"model.{place}.weight": passed, f"model.{place}.bias": repeated_zeros((width,))}
    return tensors | {
        "model.10.weight": _identity_convolution(3, width),
        "model.10.bias": repeated_zeros((3,)),
    }


def clip_l() -> dict[str, Array]:
    """Return the text encoder of Stable Diffusion 1.5 with layers that add zero.

    Its output for a prompt is the token and position embeddings.
    """
    random = np.random.default_rng(1)
    tensors = {
        "text_model.embeddings.token_embedding.weight": random_array(random, (49408, TEXT_WIDTH)),
        "text_model.embeddings.position_embedding.weight": random_array(random, (77, TEXT_WIDTH)),
        "text_model.final_layer_norm.weight": np.ones(TEXT_WIDTH, np.float16),
        "text_model.final_layer_norm.bias": repeated_zeros((TEXT_WIDTH,), np.float16),
    }
    for depth in range(12):
        prefix = f"text_model.encoder.layers.{depth}"
        shapes = [(f"self_attn.{name}_proj", TEXT_WIDTH, TEXT_WIDTH) for name in ("q", "k", "v", "out")]
        for name, out, into in [
            *shapes,
            ("mlp.fc1", 4 * TEXT_WIDTH, TEXT_WIDTH),
            ("mlp.fc2", TEXT_WIDTH, 4 * TEXT_WIDTH),
        ]:
            tensors[f"{prefix}.{name}.weight"] = repeated_zeros((out, into), np.float16)
            tensors[f"{prefix}.{name}.bias"] = repeated_zeros((out,), np.float16)
        for norm in ("layer_norm1", "layer_norm2"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(TEXT_WIDTH, np.float16)
            tensors[f"{prefix}.{norm}.bias"] = repeated_zeros((TEXT_WIDTH,), np.float16)
    return tensors


def stable_diffusion() -> dict[str, Array]:
    """Return a full checkpoint: denoiser, text encoder, and a VAE whose latents are small images."""
    return {
        **{
            f"model.diffusion_model.{name}": array
            for name, array in init_tensors(_unet_shapes(), seed=2).items()
        },
        **{f"cond_stage_model.transformer.{name}": array for name, array in clip_l().items()},
        **{f"first_stage_model.{name}": array for name, array in _taesd(4).items()},
    }


def stable_diffusion_3() -> dict[str, Array]:
    """Return a full checkpoint like that of 3.5 Large, with one of its three text encoders."""
    return {
        **{
            f"model.diffusion_model.{name}": array
            for name, array in init_tensors(_mmdit_shapes(), seed=4).items()
        },
        **{f"text_encoders.clip_l.transformer.{name}": array for name, array in clip_l().items()},
        **{f"first_stage_model.{name}": array for name, array in _taesd(16).items()},
    }


def _taesd(channels: int) -> dict[str, Array]:
    """Return an 8x encoder and decoder for latents of `channels` channels, three of which hold the image."""
    encoder = {f"taesd_encoder.{name}": array for name, array in _taesd_encoder(channels).items()}
    return encoder | {f"taesd_decoder.{name}": array for name, array in _taesd_decoder(channels).items()}


def _taesd_encoder(channels: int) -> dict[str, Array]:
    """Return an encoder that samples every eighth pixel and scales 0..1 to the range of latents."""
    spread = _identity_convolution(channels, 64)
    spread *= 2 * LATENT_LIMIT
    tensors = {"0.weight": _identity_convolution(64, 3), "0.bias": repeated_zeros((64,))}
    for block in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        tensors |= _zero_residual_block(str(block), 64, 64)
    tensors |= {f"{place}.weight": _identity_convolution(64, 64) for place in (2, 6, 10)}
    return tensors | {"14.weight": spread, "14.bias": -_first_bias(channels)}


def _taesd_decoder(channels: int) -> dict[str, Array]:
    tensors = {"1.weight": _identity_convolution(64, channels), "1.bias": _first_bias(64)}
    for block in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        tensors |= _zero_residual_block(str(block), 64, 64)
    tensors |= {f"{place}.weight": _identity_convolution(64, 64) for place in (7, 12, 17)}
    return tensors | {"19.weight": _latent_to_rgb_convolution(64), "19.bias": repeated_zeros((3,))}


def _identity_convolution(out: int, into: int) -> Array:
    """Return a 3x3 convolution that passes each channel through unchanged."""
    kernel = np.zeros((out, into, 3, 3), np.float32)
    kernel[:, :, 1, 1] = np.eye(out, into)
    return kernel


def _latent_to_rgb_convolution(into: int) -> Array:
    """Return the last convolution, which scales 0..2*LATENT_LIMIT to 0..1."""
    kernel = _identity_convolution(3, into)
    kernel /= 2 * LATENT_LIMIT
    return kernel


def _first_bias(width: int) -> Array:
    """Return the first bias, which makes all values non-negative, so that no activation clips them."""
    return np.full(width, LATENT_LIMIT, np.float32)


def _zero_residual_block(prefix: str, width: int, into: int) -> dict[str, Array]:
    """Return a residual block that adds zero."""
    tensors: dict[str, Array] = {}
    for place, channels in ((0, into), (2, width), (4, width)):
        tensors[f"{prefix}.conv.{place}.weight"] = repeated_zeros((width, channels, 3, 3))
        tensors[f"{prefix}.conv.{place}.bias"] = repeated_zeros((width,))
    return tensors


def _unet_shapes() -> Shapes:
    """Yield the shapes of a denoiser with two resolutions of one block each."""
    yield from layer_shapes("time_embed.0", 4 * UNET_WIDTH, UNET_WIDTH)
    yield from layer_shapes("time_embed.2", 4 * UNET_WIDTH, 4 * UNET_WIDTH)
    yield from layer_shapes("input_blocks.0.0", UNET_WIDTH, 4, 3, 3)
    yield from _unet_residual_shapes("input_blocks.1.0", UNET_WIDTH)
    yield from layer_shapes("input_blocks.2.0.op", UNET_WIDTH, UNET_WIDTH, 3, 3)
    yield from _unet_residual_shapes("input_blocks.3.0", UNET_WIDTH)
    yield from _unet_attention_shapes("input_blocks.3.1")
    yield from _unet_residual_shapes("middle_block.0", UNET_WIDTH)
    yield from _unet_attention_shapes("middle_block.1")
    yield from _unet_residual_shapes("middle_block.2", UNET_WIDTH)
    for block in range(4):
        yield from _unet_residual_shapes(f"output_blocks.{block}.0", 2 * UNET_WIDTH)
        yield from layer_shapes(f"output_blocks.{block}.0.skip_connection", UNET_WIDTH, 2 * UNET_WIDTH, 1, 1)
    for block in (0, 1):
        yield from _unet_attention_shapes(f"output_blocks.{block}.1")
    yield from layer_shapes("output_blocks.1.2.conv", UNET_WIDTH, UNET_WIDTH, 3, 3)
    yield from layer_shapes("out.0", UNET_WIDTH)
    yield from layer_shapes("out.2", 4, UNET_WIDTH, 3, 3)


def _unet_residual_shapes(prefix: str, into: int) -> Shapes:
    yield from layer_shapes(f"{prefix}.in_layers.0", into)
    yield from layer_shapes(f"{prefix}.in_layers.2", UNET_WIDTH, into, 3, 3)
    yield from layer_shapes(f"{prefix}.emb_layers.1", UNET_WIDTH, 4 * UNET_WIDTH)
    yield from layer_shapes(f"{prefix}.out_layers.0", UNET_WIDTH)
    yield from layer_shapes(f"{prefix}.out_layers.3", UNET_WIDTH, UNET_WIDTH, 3, 3)


def _unet_attention_shapes(prefix: str) -> Shapes:
    block = f"{prefix}.transformer_blocks.0"
    yield from layer_shapes(f"{prefix}.norm", UNET_WIDTH)
    for end in ("proj_in", "proj_out"):
        yield from layer_shapes(f"{prefix}.{end}", UNET_WIDTH, UNET_WIDTH, 1, 1)
    for attention, listened in (("attn1", UNET_WIDTH), ("attn2", TEXT_WIDTH)):
        yield f"{block}.{attention}.to_q.weight", (UNET_WIDTH, UNET_WIDTH)
        yield f"{block}.{attention}.to_k.weight", (UNET_WIDTH, listened)
        yield f"{block}.{attention}.to_v.weight", (UNET_WIDTH, listened)
        yield from layer_shapes(f"{block}.{attention}.to_out.0", UNET_WIDTH, UNET_WIDTH)
    yield from layer_shapes(f"{block}.ff.net.0.proj", 8 * UNET_WIDTH, UNET_WIDTH)
    yield from layer_shapes(f"{block}.ff.net.2", UNET_WIDTH, 4 * UNET_WIDTH)
    for norm in ("norm1", "norm2", "norm3"):
        yield from layer_shapes(f"{block}.{norm}", UNET_WIDTH)


def _mmdit_shapes() -> Shapes:
    """Yield the shapes of two blocks, each with one half for the text and one for the image."""
    yield "pos_embed", (1, 64 * 64, MMDIT_WIDTH)
    yield from layer_shapes("x_embedder.proj", MMDIT_WIDTH, 16, 2, 2)
    for embedder, into in (("t_embedder", 256), ("y_embedder", 2048)):
        yield from layer_shapes(f"{embedder}.mlp.0", MMDIT_WIDTH, into)
        yield from layer_shapes(f"{embedder}.mlp.2", MMDIT_WIDTH, MMDIT_WIDTH)
    yield from layer_shapes("context_embedder", MMDIT_WIDTH, 4096)
    for half in ("0.context_block", "0.x_block", "1.x_block"):
        yield from _mmdit_block_shapes(f"joint_blocks.{half}")
    # The text is not used after the last block.
    yield from _mmdit_attention_shapes("joint_blocks.1.context_block.attn")
    yield from layer_shapes("joint_blocks.1.context_block.adaLN_modulation.1", 2 * MMDIT_WIDTH, MMDIT_WIDTH)
    yield from layer_shapes("final_layer.linear", 4 * 16, MMDIT_WIDTH)
    yield from layer_shapes("final_layer.adaLN_modulation.1", 2 * MMDIT_WIDTH, MMDIT_WIDTH)


def _mmdit_block_shapes(prefix: str) -> Shapes:
    yield from _mmdit_attention_shapes(f"{prefix}.attn")
    yield from layer_shapes(f"{prefix}.attn.proj", MMDIT_WIDTH, MMDIT_WIDTH)
    yield from layer_shapes(f"{prefix}.mlp.fc1", 4 * MMDIT_WIDTH, MMDIT_WIDTH)
    yield from layer_shapes(f"{prefix}.mlp.fc2", MMDIT_WIDTH, 4 * MMDIT_WIDTH)
    yield from layer_shapes(f"{prefix}.adaLN_modulation.1", 6 * MMDIT_WIDTH, MMDIT_WIDTH)


def _mmdit_attention_shapes(prefix: str) -> Shapes:
    yield from layer_shapes(f"{prefix}.qkv", 3 * MMDIT_WIDTH, MMDIT_WIDTH)
    yield f"{prefix}.ln_q.weight", (64,)
    yield f"{prefix}.ln_k.weight", (64,)
