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


def apply_controlnet(context: NodeContext, **inputs: Any) -> tuple[Any, ...]:
    """Return changed conditionings; as on a real instance, a strength of 0 leaves them unchanged."""
    if inputs["strength"] == 0:
        return tuple(inputs[name] for name in ("positive", "negative", "conditioning") if name in inputs)
    return run_placeholder_node(context, **inputs)


NODES: Mapping[str, NodeFunction] = {
    "InpaintModelConditioning": inpaint_model_conditioning,
    "ControlNetApply": apply_controlnet,
    "ControlNetApplyAdvanced": apply_controlnet,
}
