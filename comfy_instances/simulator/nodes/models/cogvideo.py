"""The nodes of the CogVideoX wrapper pack that compute something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.models import latents
from comfy_instances.simulator.nodes.models.sampling import sample
from comfy_instances.simulator.nodes.values import Image, Latent, Opaque, fingerprint


def cog_sampler(
    call: Call,
    model: Opaque,
    num_frames: int,
    steps: int,
    cfg: float,
    samples: Latent | None = None,
    image_cond_latents: Latent | None = None,
    denoise_strength: float = 1.0,
    **inputs: Any,
) -> tuple[Latent]:
    """A video of the size of `samples`, or of the start image's where there is none."""
    like = samples or image_cond_latents
    height, width = like.samples.shape[-2:] if like else (60, 90)
    fold = latents.geometry("cogvideo")
    sides = (width * fold.spatial, height * fold.spatial)
    empty = latents.empty(*sides, num_frames, fold=fold)
    digest = fingerprint([model, num_frames, steps, cfg, samples, image_cond_latents, inputs])
    opaques = [model, inputs["positive"], inputs["negative"]]
    made = sample(call, digest, steps, denoise_strength, empty, opaques, guided=cfg != 1)
    return (made,)


def cog_decode(call: Call, vae: Opaque, samples: Latent, **_: Any) -> tuple[Image]:
    call.device.use(vae.weights)
    return (latents.decode(samples),)


def cog_image_encode(call: Call, vae: Opaque, start_image: Image, **_: Any) -> tuple[Latent]:
    call.device.use(vae.weights)
    return (latents.encode(start_image[:1], latents.Geometry(8, 1, 16)),)


NODES: Mapping[str, NodeFunction] = {
    "CogVideoSampler": cog_sampler,
    "CogVideoDecode": cog_decode,
    "CogVideoImageEncode": cog_image_encode,
}
