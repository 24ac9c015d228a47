"""The networks of Wan 2.1 and 2.2, with the names and shapes by which ComfyUI recognises them."""

from __future__ import annotations

from scripts.tiny.formats import Array
from scripts.tiny.networks import TEXT_WIDTH
from scripts.tiny.shapes import Shapes, init_tensors, layer_shapes

#: Width of the denoiser, which has one attention head.
DENOISER_WIDTH = 128
#: Narrowest width of the VAE; the real one has 96.
VAE_WIDTH = 4
LATENT_CHANNELS = 16
#: Besides the latent, image-to-video denoisers take the start image's latent and a mask of four frames.
IMAGE_CONDITION_CHANNELS = LATENT_CHANNELS + 4
#: Sets the text width to TEXT_WIDTH instead of the 4096 of the real encoder.
DENOISER_METADATA = {"config": f'{{"transformer": {{"text_dim": {TEXT_WIDTH}}}}}'}


#: A residual block (widths of input and output), or a resampling layer (width).
Stage = int | tuple[int, int]


def text_to_video_denoiser() -> dict[str, Array]:
    """Return a denoiser of two blocks; its file's metadata must include `DENOISER_METADATA`."""
    return init_tensors(_denoiser_shapes(LATENT_CHANNELS), seed=3)


def high_noise_expert() -> dict[str, Array]:
    """Return an image-to-video denoiser of two blocks."""
    return init_tensors(_denoiser_shapes(LATENT_CHANNELS + IMAGE_CONDITION_CHANNELS), seed=5)


def low_noise_expert() -> dict[str, Array]:
    return init_tensors(_denoiser_shapes(LATENT_CHANNELS + IMAGE_CONDITION_CHANNELS), seed=6)


def vae() -> dict[str, Array]:
    """Return the encoder and decoder of latents: 4x in time, 8x in space."""
    return init_tensors(_vae_shapes(), seed=7)


def _denoiser_shapes(channels: int) -> Shapes:
    yield from layer_shapes("patch_embedding", DENOISER_WIDTH, channels, 1, 2, 2)
    yield from layer_shapes("text_embedding.0", DENOISER_WIDTH, TEXT_WIDTH)
    yield from layer_shapes("text_embedding.2", DENOISER_WIDTH, DENOISER_WIDTH)
    yield from layer_shapes("time_embedding.0", DENOISER_WIDTH, 256)
    yield from layer_shapes("time_embedding.2", DENOISER_WIDTH, DENOISER_WIDTH)
    yield from layer_shapes("time_projection.1", 6 * DENOISER_WIDTH, DENOISER_WIDTH)
    for block in ("blocks.0", "blocks.1"):
        yield f"{block}.modulation", (1, 6, DENOISER_WIDTH)
        for attention in ("self_attn", "cross_attn"):
            for name in ("q", "k", "v", "o"):
                yield from layer_shapes(f"{block}.{attention}.{name}", DENOISER_WIDTH, DENOISER_WIDTH)
            yield f"{block}.{attention}.norm_q.weight", (DENOISER_WIDTH,)
            yield f"{block}.{attention}.norm_k.weight", (DENOISER_WIDTH,)
        yield from layer_shapes(f"{block}.norm3", DENOISER_WIDTH)
        yield from layer_shapes(f"{block}.ffn.0", 2 * DENOISER_WIDTH, DENOISER_WIDTH)
        yield from layer_shapes(f"{block}.ffn.2", DENOISER_WIDTH, 2 * DENOISER_WIDTH)
    yield "head.modulation", (1, 2, DENOISER_WIDTH)
    yield from layer_shapes("head.head", 4 * LATENT_CHANNELS, DENOISER_WIDTH)


def _vae_shapes() -> Shapes:
    one, two, four = VAE_WIDTH, 2 * VAE_WIDTH, 4 * VAE_WIDTH
    yield from layer_shapes("encoder.conv1", one, 3, 3, 3, 3)
    down: list[Stage] = [
        (one, one),
        (one, one),
        one,
        (one, two),
        (two, two),
        two,
        (two, four),
        (four, four),
        four,
    ]
    yield from _stage_shapes(
        "encoder.downsamples", [*down, (four, four), (four, four)], temporal_stages=(5, 8)
    )
    yield from _middle_shapes("encoder.middle", four)
    yield from _head_shapes("encoder.head", 2 * LATENT_CHANNELS, four)
    yield from layer_shapes("conv1", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1, 1, 1)
    yield from layer_shapes("conv2", LATENT_CHANNELS, LATENT_CHANNELS, 1, 1, 1)
    yield from layer_shapes("decoder.conv1", four, LATENT_CHANNELS, 3, 3, 3)
    yield from _middle_shapes("decoder.middle", four)
    up: list[Stage] = [*[(four, four)] * 3, four, (two, four), *[(four, four)] * 2, four]
    up += [*[(two, two)] * 3, two, *[(one, one)] * 3]
    yield from _stage_shapes("decoder.upsamples", up, temporal_stages=(3, 7), upsampling=True)
    yield from _head_shapes("decoder.head", 3, one)


def _stage_shapes(
    prefix: str, stages: list[Stage], temporal_stages: tuple[int, ...], upsampling: bool = False
) -> Shapes:
    """Yield the shapes of the stages; those in `temporal_stages` also change the number of frames."""
    for index, stage in enumerate(stages):
        name = f"{prefix}.{index}"
        if isinstance(stage, tuple):
            yield from _residual_shapes(name, *stage)
            continue
        yield from layer_shapes(f"{name}.resample.1", stage // 2 if upsampling else stage, stage, 3, 3)
        if index in temporal_stages:
            yield from layer_shapes(f"{name}.time_conv", 2 * stage if upsampling else stage, stage, 3, 1, 1)


def _residual_shapes(prefix: str, into: int, out: int) -> Shapes:
    yield f"{prefix}.residual.0.gamma", (into, 1, 1, 1)
    yield from layer_shapes(f"{prefix}.residual.2", out, into, 3, 3, 3)
    yield f"{prefix}.residual.3.gamma", (out, 1, 1, 1)
    yield from layer_shapes(f"{prefix}.residual.6", out, out, 3, 3, 3)
    if into != out:
        yield from layer_shapes(f"{prefix}.shortcut", out, into, 1, 1, 1)


def _middle_shapes(prefix: str, width: int) -> Shapes:
    yield from _residual_shapes(f"{prefix}.0", width, width)
    yield f"{prefix}.1.norm.gamma", (width, 1, 1)
    yield from layer_shapes(f"{prefix}.1.to_qkv", 3 * width, width, 1, 1)
    yield from layer_shapes(f"{prefix}.1.proj", width, width, 1, 1)
    yield from _residual_shapes(f"{prefix}.2", width, width)


def _head_shapes(prefix: str, out: int, into: int) -> Shapes:
    yield f"{prefix}.0.gamma", (into, 1, 1, 1)
    yield from layer_shapes(f"{prefix}.2", out, into, 3, 3, 3)
