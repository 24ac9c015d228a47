"""Pixel Factory's nodes for ComfyUI: parameters that an author draws into a graph.

A graph with these nodes runs in ComfyUI as it is: each hands on the value that stands in it. On
`pixelfactory models import` each becomes a parameter of the model, with its name, default and range, and
disappears from the graph, which then needs no node pack.
"""

from __future__ import annotations

from .parameters import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
