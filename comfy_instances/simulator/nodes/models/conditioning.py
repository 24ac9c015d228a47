"""Nodes that prepare a picture and its mask for a sampler, beside conditionings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.models.sampling import vae_encode
from comfy_instances.simulator.nodes.models.stand_in import stand_in
from comfy_instances.simulator.nodes.values import Image, Mask, Opaque


def inpaint(
    call: Call, vae: Opaque, pixels: Image, mask: Mask, noise_mask: bool = True, **inputs: Any
) -> tuple[Any, ...]:
    positive, negative, _ = stand_in(call, vae=vae, pixels=pixels, mask=mask, **inputs)
    (latent,) = vae_encode(call, pixels, vae)
    return positive, negative, replace(latent, noise_mask=mask if noise_mask else None)


NODES: Mapping[str, NodeFunction] = {"InpaintModelConditioning": inpaint}
