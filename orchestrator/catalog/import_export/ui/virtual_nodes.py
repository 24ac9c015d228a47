"""Nodes that exist only on ComfyUI's page: a server never gets them, and needs no pack for them."""

from __future__ import annotations

#: Nodes that pass their only input on.
PASS_THROUGH_TYPES = frozenset({"Reroute", "Reroute (rgthree)", "SetNode", "easy setNode"})
SETTER_TYPES = frozenset({"SetNode", "easy setNode"})
GETTER_TYPES = frozenset({"GetNode", "easy getNode"})
#: Nodes that stand for links to all inputs of a type (`use_everywhere.py`).
BROADCAST_TYPES = frozenset(
    {"Anything Everywhere", "Anything Everywhere3", "Anything Everywhere?", "Prompts Everywhere"}
)
_TEXT_TYPES = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Label (rgthree)",
        "Bookmark (rgthree)",
        "Note Plus (mtb)",
        "LayerUtility: NoteNode",
    }
)
#: Buttons that mute or bypass other nodes; a file has the resulting modes.
_SWITCHBOARD_TYPES = frozenset(
    {
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
        "Random Unmuter (rgthree)",
    }
)

VIRTUAL_NODE_TYPES = (
    PASS_THROUGH_TYPES | GETTER_TYPES | BROADCAST_TYPES | _TEXT_TYPES | _SWITCHBOARD_TYPES | {"PrimitiveNode"}
)
