"""Node implementations: class name -> function from inputs to outputs.

A function whose first parameter is named `context` receives the NodeContext. All take their inputs by
keyword and return a sequence of outputs, or a NodeResult.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.simulator.nodes import checking, media, parameters, texts
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.files import delivering, loading, saving
from comfy_instances.simulator.nodes.images import images, masks, scaling
from comfy_instances.simulator.nodes.models import cogvideo, conditioning, latents, loras, sampling, training
from comfy_instances.simulator.nodes.models.stand_in import run_placeholder_node

NODE_FUNCTIONS: Mapping[str, NodeFunction] = {
    **images.NODES,
    **scaling.NODES,
    **masks.NODES,
    **latents.NODES,
    **sampling.NODES,
    **conditioning.NODES,
    **loras.NODES,
    **media.NODES,
    **texts.NODES,
    **loading.NODES,
    **saving.NODES,
    **delivering.NODES,
    **cogvideo.NODES,
    **checking.NODES,
    **parameters.NODES,
    **training.NODES,
}

#: Nodes that need only one of their lazy inputs: available values -> name of that input.
LAZY_INPUT_SELECTORS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "ComfySwitchNode": texts.select_switch_input
}


def run_node(context: NodeContext, inputs: Mapping[str, Any]) -> NodeResult:
    """Run the function of a node. Raises the exceptions of the function."""
    function: NodeFunction = NODE_FUNCTIONS.get(context.class_type, run_placeholder_node)
    takes_context = next(iter(inspect.signature(function).parameters), "") == "context"
    made = function(context, **inputs) if takes_context else function(**inputs)
    return made if isinstance(made, NodeResult) else NodeResult({}, made)
