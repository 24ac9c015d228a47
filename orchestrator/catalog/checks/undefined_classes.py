"""Describe classes that a workflow defines itself, and whose definition its file does not have."""

from __future__ import annotations

import re

_GROUP_NODE = re.compile(r"workflow[>/](.+)", re.DOTALL)
#: ComfyUI names the definition of a subgraph by a random UUID.
_SUBGRAPH = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WAY_OUT = "open the workflow in the ComfyUI where it was drawn, and save it again"


def describe_undefined(class_type: str) -> str:
    """Return what is missing for a class that a workflow defines itself; empty for one of a node pack."""
    if group := _GROUP_NODE.fullmatch(class_type):
        return f"the definition of the group node {group[1][:60]!r}, which the file does not have; {_WAY_OUT}"
    if _SUBGRAPH.fullmatch(class_type):
        return f"the definition of the subgraph {class_type}, which the file does not have; {_WAY_OUT}"
    return ""
