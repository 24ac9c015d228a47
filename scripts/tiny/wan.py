"""The networks of Wan 2.1 and 2.2, under the names and in the shapes by which ComfyUI recognises them."""

from __future__ import annotations

from scripts.tiny.formats import Array
from scripts.tiny.networks import TEXT
from scripts.tiny.shapes import Shapes, initial, layer

#: Width of one attention head of the denoiser, which is also all of its width.
WIDTH = 128
#: Narrowest width of the VAE; the real one has 96.
VAE_WIDTH = 4
LATENT_CHANNELS = 16
#: Beside the latent, denoisers that start from a picture are shown its latent and a mask of four frames.
SHOWN_CHANNELS = LATENT_CHANNELS + 4
#: Says that the text is `TEXT` wide and not 4096 as the real encoder's.
CONFIG = {"config": f'{{"transformer": {{"text_dim": {TEXT}}}}}'}


#: A residual block (widths of its input and output), or a change of the size (width).
Stage = int | tuple[int, int]


def text_to_video() -> dict[str, Array]:
    """A denoiser of two blocks; it needs `CONFIG` among its file's metadata."""
    return initial(_denoiser(LATENT_CHANNELS), seed=3)


def first_expert() -> dict[str, Array]:
    """The same, starting from a picture."""
    return initial(_denoiser(LATENT_CHANNELS + SHOWN_CHANNELS), seed=5)


def second_expert() -> dict[str, Array]:
    return initial(_denoiser(LATENT_CHANNELS + SHOWN_CHANNELS), seed=6)


def vae() -> dict[str, Array]:
    """Encoder and decoder of latents: fourfold in time, eightfold in space."""
    return initial(_vae(), seed=7)


def _denoiser(channels: int) -> Shapes:
    yield from layer("patch_embedding", WIDTH, channels, 1, 2, 2)
    yield from layer("text_embedding.0", WIDTH, TEXT)
    yield from layer("text_embedding.2", WIDTH, WIDTH)
    yield from layer("time_embedding.0", WIDTH, 256)
    yield from layer("time_embedding.2", WIDTH, WIDTH)
    yield from layer("time_projection.1", 6 * WIDTH, WIDTH)
    for block in ("blocks.0", "blocks.1"):
        yield f"{block}.modulation", (1, 6, WIDTH)
        for attention in ("self_attn", "cross_attn"):
            for name in ("q", "k", "v", "o"):
                yield from layer(f"{block}.{attention}.{name}", WIDTH, WIDTH)
            yield f"{block}.{attention}.norm_q.weight", (WIDTH,)
            yield f"{block}.{attention}.norm_k.weight", (WIDTH,)
        yield from layer(f"{block}.norm3", WIDTH)
        yield from layer(f"{block}.ffn.0", 2 * WIDTH, WIDTH)
        yield from layer(f"{block}.ffn.2", WIDTH, 2 * WIDTH)
    yield "head.modulation", (1, 2, WIDTH)
    yield from layer("head.head", 4 * LATENT_CHANNELS, WIDTH)


def _vae() -> Shapes:
    one, two, four = VAE_WIDTH, 2 * VAE_WIDTH, 4 * VAE_WIDTH
    yield from layer("encoder.conv1", one, 3, 3, 3, 3)
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
    yield from _stages("encoder.downsamples", [*down, (four, four), (four, four)], in_time=(5, 8))
    yield from _middle("encoder.middle", four)
    yield from _head("encoder.head", 2 * LATENT_CHANNELS, four)
    yield from layer("conv1", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1, 1, 1)
    yield from layer("conv2", LATENT_CHANNELS, LATENT_CHANNELS, 1, 1, 1)
    yield from layer("decoder.conv1", four, LATENT_CHANNELS, 3, 3, 3)
    yield from _middle("decoder.middle", four)
    up: list[Stage] = [*[(four, four)] * 3, four, (two, four), *[(four, four)] * 2, four]
    up += [*[(two, two)] * 3, two, *[(one, one)] * 3]
    yield from _stages("decoder.upsamples", up, in_time=(3, 7), growing=True)
    yield from _head("decoder.head", 3, one)


def _stages(prefix: str, stages: list[Stage], in_time: tuple[int, ...], growing: bool = False) -> Shapes:
    """Those at the indices `in_time` change the number of frames too."""
    for index, stage in enumerate(stages):
        name = f"{prefix}.{index}"
        if isinstance(stage, tuple):
            yield from _residual(name, *stage)
            continue
        yield from layer(f"{name}.resample.1", stage // 2 if growing else stage, stage, 3, 3)
        if index in in_time:
            yield from layer(f"{name}.time_conv", 2 * stage if growing else stage, stage, 3, 1, 1)


def _residual(prefix: str, into: int, out: int) -> Shapes:
    yield f"{prefix}.residual.0.gamma", (into, 1, 1, 1)
    yield from layer(f"{prefix}.residual.2", out, into, 3, 3, 3)
    yield f"{prefix}.residual.3.gamma", (out, 1, 1, 1)
    yield from layer(f"{prefix}.residual.6", out, out, 3, 3, 3)
    if into != out:
        yield from layer(f"{prefix}.shortcut", out, into, 1, 1, 1)


def _middle(prefix: str, width: int) -> Shapes:
    yield from _residual(f"{prefix}.0", width, width)
    yield f"{prefix}.1.norm.gamma", (width, 1, 1)
    yield from layer(f"{prefix}.1.to_qkv", 3 * width, width, 1, 1)
    yield from layer(f"{prefix}.1.proj", width, width, 1, 1)
    yield from _residual(f"{prefix}.2", width, width)


def _head(prefix: str, out: int, into: int) -> Shapes:
    yield f"{prefix}.0.gamma", (into, 1, 1, 1)
    yield from layer(f"{prefix}.2", out, into, 3, 3, 3)
