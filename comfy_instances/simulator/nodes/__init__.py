"""What nodes do: class name -> function from inputs to outputs.

A function whose first parameter is named `call` gets the Call it works for. All take their inputs by
keyword and answer with a sequence of outputs, or with Shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.simulator.nodes import checking, media, texts
from comfy_instances.simulator.nodes.call import Call, NodeFunction, Shown
from comfy_instances.simulator.nodes.files import loading, saving
from comfy_instances.simulator.nodes.images import images, masks, scaling
from comfy_instances.simulator.nodes.models import cogvideo, conditioning, latents, sampling, training
from comfy_instances.simulator.nodes.models.stand_in import stand_in

FUNCTIONS: Mapping[str, NodeFunction] = {
    **images.NODES,
    **scaling.NODES,
    **masks.NODES,
    **latents.NODES,
    **sampling.NODES,
    **conditioning.NODES,
    **media.NODES,
    **texts.NODES,
    **loading.NODES,
    **saving.NODES,
    **cogvideo.NODES,
    **checking.NODES,
    **training.NODES,
}

#: Nodes that need only one of their lazy inputs: values so far -> its name.
CHOOSERS: Mapping[str, Callable[[dict[str, Any]], str]] = {"ComfySwitchNode": texts.wanted_branch}


def perform(call: Call, inputs: Mapping[str, Any]) -> Shown:
    """Run a node. Raises what its function raises."""
    function: NodeFunction = FUNCTIONS.get(call.class_type, stand_in)
    takes_call = next(iter(inspect.signature(function).parameters), "") == "call"
    made = function(call, **inputs) if takes_call else function(**inputs)
    return made if isinstance(made, Shown) else Shown({}, made)
