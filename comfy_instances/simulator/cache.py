"""Results that need not be computed again: by what a node does and all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from comfy_instances.simulator.order import is_link

#: Bytes of results that are kept; the longest unused go first.
LIMIT = 128 * 1024**2


@dataclass(frozen=True, slots=True)
class Entry:
    """What a node yielded: one list of values per output slot, and what it showed."""

    outputs: list[list[Any]]
    ui: dict[str, Any] | None


@dataclass(slots=True)
class Cache:
    """Entries by signature, in order of use."""

    limit: int = LIMIT
    _entries: dict[str, Entry] = field(default_factory=dict)

    def get(self, signature: str) -> Entry | None:
        entry = self._entries.pop(signature, None)
        if entry is not None:
            self._entries[signature] = entry
        return entry

    def put(self, signature: str, entry: Entry) -> None:
        self._entries.pop(signature, None)
        self._entries[signature] = entry

    def trim(self) -> None:
        """Forget the longest unused until the rest fits; not while a prompt runs that may need them."""
        while len(self._entries) > 1 and self.size > self.limit:
            del self._entries[next(iter(self._entries))]

    def clear(self) -> None:
        self._entries.clear()

    @property
    def size(self) -> int:
        """Bytes; what several entries share counts once."""
        arrays: dict[int, int] = {}
        for entry in self._entries.values():
            _count(entry.outputs, arrays)
        return sum(arrays.values())


def _count(value: Any, arrays: dict[int, int]) -> None:
    """Note the bytes of every array in `value`, by the identity of its memory."""
    if hasattr(value, "nbytes"):
        owner = value if value.base is None else value.base
        arrays[id(owner)] = int(getattr(owner, "nbytes", value.nbytes))
    elif isinstance(value, list | tuple):
        for item in value:
            _count(item, arrays)
    elif is_dataclass(value):
        for item in fields(value):
            _count(getattr(value, item.name), arrays)


def signatures(graph: Mapping[str, Any], state: Callable[[str], Any]) -> dict[str, str]:
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
            known[node_id] = _digest(graph[node_id], state(node_id), known)
    return {node_id: known[node_id] for node_id in graph}


def _digest(node: Mapping[str, Any], state: Any, known: Mapping[str, str]) -> str:
    parts = {
        name: ["from", known.get(value[0], ""), value[1]] if is_link(value) else ["value", value]
        for name, value in node.get("inputs", {}).items()
    }
    text = json.dumps([node["class_type"], state, parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
