"""Pixel Factory's nodes for ComfyUI: parameters that an author draws into a graph, and a check of outputs.

A graph with parameter nodes runs in ComfyUI as it is: each hands on the value that stands in it. On
`pixelfactory models import` each becomes a parameter of the model, with its name, default and range, and
disappears from the graph, which then needs no node pack. The output check stays in it.
"""

from __future__ import annotations

from . import check, parameters

NODE_CLASS_MAPPINGS = {**parameters.NODE_CLASS_MAPPINGS, **check.NODE_CLASS_MAPPINGS}
NODE_DISPLAY_NAME_MAPPINGS = {
    **parameters.NODE_DISPLAY_NAME_MAPPINGS,
    **check.NODE_DISPLAY_NAME_MAPPINGS,
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
