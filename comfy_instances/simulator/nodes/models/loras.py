"""Nodes that add a LoRA to a model and its text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.models.stand_in import run_placeholder_node


def load_lora(context: NodeContext, **inputs: Any) -> tuple[Any, ...]:
    """Return a changed model; as on a real instance, strengths of 0 leave it unchanged."""
    if inputs.get("strength_model", 0) == 0 and inputs.get("strength_clip", 0) == 0:
        return (inputs["model"], inputs["clip"]) if "clip" in inputs else (inputs["model"],)
    return run_placeholder_node(context, **inputs)


NODES: Mapping[str, NodeFunction] = {
    "LoraLoader": load_lora,
    "LoraLoaderModelOnly": load_lora,
    "LoraLoaderBypass": load_lora,
    "LoraLoaderBypassModelOnly": load_lora,
}
