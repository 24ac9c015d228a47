"""Nodes that prepare conditionings, an image and its mask for a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.models.sampling import vae_encode
from comfy_instances.simulator.nodes.models.stand_in import run_placeholder_node
from comfy_instances.simulator.nodes.values import ImageArray, MaskArray, OpaqueValue


def inpaint_model_conditioning(
    context: NodeContext,
    vae: OpaqueValue,
    pixels: ImageArray,
    mask: MaskArray,
    noise_mask: bool = True,
    **inputs: Any,
) -> tuple[Any, ...]:
    positive, negative, _ = run_placeholder_node(context, vae=vae, pixels=pixels, mask=mask, **inputs)
    (latent,) = vae_encode(context, pixels, vae)
    return positive, negative, replace(latent, noise_mask=mask if noise_mask else None)


NODES: Mapping[str, NodeFunction] = {"InpaintModelConditioning": inpaint_model_conditioning}
