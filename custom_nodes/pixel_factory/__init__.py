"""Pixel Factory's nodes for ComfyUI: parameter nodes that authors add to a graph, and an output check.

A graph with parameter nodes runs in ComfyUI unchanged: each node outputs the value entered in it. The command
`pixelfactory models import` turns each into a parameter of the model, with its name, default and range, and
removes it from the graph, which then needs no node pack. The output check node stays in the graph.
"""

from __future__ import annotations

from . import check, parameters

NODE_CLASS_MAPPINGS = {**parameters.NODE_CLASS_MAPPINGS, **check.NODE_CLASS_MAPPINGS}
NODE_DISPLAY_NAME_MAPPINGS = {
    **parameters.NODE_DISPLAY_NAME_MAPPINGS,
    **check.NODE_DISPLAY_NAME_MAPPINGS,
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
