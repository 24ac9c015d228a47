"""A cache of node results, keyed by the node's class and all of its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.simulator.execution.execution_order import is_link


@dataclass(frozen=True, slots=True)
class CachedResult:
    """The result of a node: one list of values per output slot, and its UI output."""

    outputs: list[list[Any]]
    ui: dict[str, Any] | None


@dataclass(slots=True)
class ResultCache:
    """Results by signature. Only those of the last prompt are kept, as in ComfyUI when memory is low."""

    _entries: dict[str, CachedResult] = field(default_factory=dict)

    def get(self, signature: str) -> CachedResult | None:
        return self._entries.get(signature)

    def put(self, signature: str, result: CachedResult) -> None:
        self._entries[signature] = result

    def retain(self, signatures: Iterable[str]) -> None:
        """Remove all entries except those with these signatures."""
        kept = set(signatures)
        self._entries = {key: entry for key, entry in self._entries.items() if key in kept}

    def clear(self) -> None:
        self._entries = {}


def compute_signatures(graph: Mapping[str, Any], get_change_token: Callable[[str], Any]) -> dict[str, str]:
    """Map each node id to a digest of its class, change token, values and everything upstream.

    The digest does not depend on node ids. `get_change_token(node_id)` returns what else the result
    depends on: the content of a file, or a new value on each call. Dangling and circular links, which
    only nodes that never run can have, are ignored.
    """
    known: dict[str, str] = {}
    begun: set[str] = set()
    stack: list[str] = [*graph][::-1]
    while stack:
        node_id = stack[-1]
        begun.add(node_id)
        sources = [value[0] for value in graph[node_id].get("inputs", {}).values() if is_link(value)]
        open_sources = [source for source in sources if source in graph and source not in begun]
        if open_sources:
            stack += open_sources
            continue
        stack.pop()
        if node_id not in known:
            known[node_id] = _node_signature(graph[node_id], get_change_token(node_id), known)
    return {node_id: known[node_id] for node_id in graph}


def _node_signature(
    node: Mapping[str, Any], change_token: Any, upstream_signatures: Mapping[str, str]
) -> str:
    parts = {
        name: ["from", upstream_signatures.get(value[0], ""), value[1]]
        if is_link(value)
        else ["value", value]
        for name, value in node.get("inputs", {}).items()
    }
    text = json.dumps([node["class_type"], change_token, parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
