"""What is known about the nodes of installed node packs, for graphs that use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.import_export.pack_versions import NO_VERSIONS, KnownVersions
from orchestrator.catalog.pack_options import packs_of_options


@dataclass(frozen=True, slots=True)
class InstalledNodes:
    """The nodes of installed packs."""

    facts: NodeFacts = field(default_factory=dict)
    #: `{"id", "url", "commit"}` of the pack, by class.
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Further versions of packs, with which files may have been saved.
    versions: KnownVersions = NO_VERSIONS

    def complete_origins(
        self, graph: Mapping[str, Any], known: Iterable[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Return the origins of the packs that a graph in API format uses: the `known` ones, completed by
        those that are installed."""
        packs = {str(pack["id"]): pack for pack in known}
        classes = [str(node.get("class_type")) for node in graph.values() if isinstance(node, dict)]
        for name in (*classes, *(pack.class_type for pack in packs_of_options(graph))):
            origin = self.origins.get(name)
            if origin is not None and not packs.get(origin["id"], {}).get("commit"):
                packs[origin["id"]] = origin
        return list(packs.values())
