"""Find graphs that enlarge what they generate, or add frames: their outputs cannot be cut to a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.rendering.graph import iter_links

#: Parts of the names of node classes that change the size of images and latents, or their number.
_RESIZES = re.compile(r"scale|upsampl|resiz|crop(?!guides)|pad|outpaint|stitch|hires", re.IGNORECASE)
_CHANGES_LENGTH = re.compile(
    r"interpolat|rife|vfi|(image|video|frame)s?(from)?batch|batch(image|video|frame)|batch_|trimvideo"
    r"|slice|extend|loop|selectevery",
    re.IGNORECASE,
)


def reject_off_grid(bindings: ParameterBindings, needed: Sequence[str]) -> None:
    """Let sizes and lengths off the grid be rejected if nodes after the generation change them.

    `needed` are the nodes that the outputs depend on.
    """
    for names, pattern in ((("width", "height"), _RESIZES), (("num_frames",), _CHANGES_LENGTH)):
        declared = [bindings.parameters[name] for name in names if name in bindings.parameters]
        sources = {place.node for place, text in bindings.expressions.items() if _is_one_of(text, names)}
        changed = any(
            pattern.search(str(bindings.graph[id]["class_type"]))
            for id in _nodes_after(bindings, sources, needed)
        )
        for declaration in declared if changed else ():
            if declaration.get("grid", 1) > 1:
                declaration["off_grid"] = "reject"


def require_even_sides(bindings: ParameterBindings) -> None:
    """Let odd sides of a video be rejected, which H.264 does not encode, unless its own sides are odd."""
    for name in ("width", "height"):
        declaration = bindings.parameters.get(name, {})
        step = declaration.get("step", 1)
        if declaration.get("type") == "integer" and step % 2 and not (declaration.get("default") or 0) % 2:
            declaration["step"] = step * 2
            declaration["minimum"] += declaration["minimum"] % 2


def _is_one_of(expression: str, names: Iterable[str]) -> bool:
    return any(re.search(rf"\b{name}\b", expression) for name in names)


def _nodes_after(bindings: ParameterBindings, sources: set[str], needed: Sequence[str]) -> set[str]:
    """Return the needed nodes that depend on one of the sources."""
    consumers: dict[str, list[str]] = {}
    for id in needed:
        for _, link in iter_links(bindings.graph[id]["inputs"]):
            consumers.setdefault(link.node, []).append(id)
    found: set[str] = set()
    waiting = [*sources]
    while waiting:
        for id in consumers.get(waiting.pop(), ()):
            if id not in found:
                found.add(id)
                waiting.append(id)
    return found - sources
