"""Results that need not be computed again: by what a node does and all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.simulator.execution.execution_order import is_link


@dataclass(frozen=True, slots=True)
class CachedResult:
    """What a node yielded: one list of values per output slot, and what it showed."""

    outputs: list[list[Any]]
    ui: dict[str, Any] | None


@dataclass(slots=True)
class ResultCache:
    """Entries by signature. A real instance short of memory keeps those of the last prompt; so do we."""

    _entries: dict[str, CachedResult] = field(default_factory=dict)

    def get(self, signature: str) -> CachedResult | None:
        return self._entries.get(signature)

    def put(self, signature: str, result: CachedResult) -> None:
        self._entries[signature] = result

    def retain(self, signatures: Iterable[str]) -> None:
        """Forget all but these."""
        kept = set(signatures)
        self._entries = {key: entry for key, entry in self._entries.items() if key in kept}

    def clear(self) -> None:
        self._entries = {}


def compute_signatures(graph: Mapping[str, Any], get_change_token: Callable[[str], Any]) -> dict[str, str]:
    """Node id -> digest of its class, `state`, values and everything upstream; ids do not count.

    `state(node_id)` is what its result depends on besides: a file's contents, or something new each
    time. Links to nowhere and back in a circle, which only nodes that never run can have, count as none.
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
