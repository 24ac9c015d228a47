"""The nodes of the CogVideoX wrapper pack that compute something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.models import latents
from comfy_instances.simulator.nodes.models.sampling import simulate_sampling
from comfy_instances.simulator.nodes.models.used_inputs import without_unused_negative
from comfy_instances.simulator.nodes.values import ImageArray, Latent, OpaqueValue, fingerprint


def cog_sampler(
    context: NodeContext,
    model: OpaqueValue,
    num_frames: int,
    steps: int,
    cfg: float,
    samples: Latent | None = None,
    image_cond_latents: Latent | None = None,
    denoise_strength: float = 1.0,
    **inputs: Any,
) -> tuple[Latent]:
    """Sample a video of the size of `samples`, or of the start image if `samples` is missing."""
    like = samples or image_cond_latents
    height, width = like.samples.shape[-2:] if like else (60, 90)
    fold = latents.find_latent_geometry("cogvideo")
    sides = (width * fold.spatial, height * fold.spatial)
    empty = latents.empty_latent(*sides, num_frames, fold=fold)
    used = without_unused_negative({"cfg": cfg, **inputs})
    digest = fingerprint([model, num_frames, steps, samples, image_cond_latents, denoise_strength, used])
    opaques = [model, inputs["positive"], inputs["negative"]]
    made = simulate_sampling(context, digest, steps, denoise_strength, empty, opaques, guided=cfg != 1)
    return (made,)


def cog_decode(context: NodeContext, vae: OpaqueValue, samples: Latent, **_: Any) -> tuple[ImageArray]:
    context.device.load_weights(vae.weights)
    return (latents.decode_latent(samples),)


def cog_image_encode(
    context: NodeContext, vae: OpaqueValue, start_image: ImageArray, **_: Any
) -> tuple[Latent]:
    context.device.load_weights(vae.weights)
    return (latents.encode_images(start_image[:1], latents.LatentGeometry(8, 1, 16)),)


NODES: Mapping[str, NodeFunction] = {
    "CogVideoSampler": cog_sampler,
    "CogVideoDecode": cog_decode,
    "CogVideoImageEncode": cog_image_encode,
}
