"""Pixel Factory's nodes for ComfyUI: parameter nodes that authors add to a graph, and an output check.

A graph with parameter nodes runs in ComfyUI unchanged: each node outputs the value entered in it. Publishing
the graph, from ComfyUI's page or by the command `pixelfactory models import`, turns each into a parameter of
the model, with its name, default and range, and removes it from the graph, which then needs no node pack. The
output check node stays in the graph.

`delivery/` brings results to object storage while the next prompt runs; the service puts its nodes into
graphs.

`web/` adds the commands to publish and to open models to ComfyUI's page, `publishing/` the routes that these
use.
"""

from __future__ import annotations

from . import check, lists, media, parameters
from .delivery import nodes as delivery_nodes
from .delivery.routes import register_routes as register_delivery_routes
from .publishing.routes import register_routes
from .recording import start_recording

NODE_CLASS_MAPPINGS = {
    **parameters.NODE_CLASS_MAPPINGS,
    **lists.NODE_CLASS_MAPPINGS,
    **media.NODE_CLASS_MAPPINGS,
    **check.NODE_CLASS_MAPPINGS,
    **delivery_nodes.NODE_CLASS_MAPPINGS,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    **parameters.NODE_DISPLAY_NAME_MAPPINGS,
    **lists.NODE_DISPLAY_NAME_MAPPINGS,
    **media.NODE_DISPLAY_NAME_MAPPINGS,
    **check.NODE_DISPLAY_NAME_MAPPINGS,
    **delivery_nodes.NODE_DISPLAY_NAME_MAPPINGS,
}
#: ComfyUI's page loads every module in it.
WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

register_routes()
register_delivery_routes()
start_recording()
