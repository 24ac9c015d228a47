"""Reads the node facts in the folder of a model, `nodes.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.errors import CatalogError


def parse_node_facts(text: str, file: Path) -> NodeFacts:
    """Return the facts of a file; `file` only names it in errors. Raises CatalogError."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"not valid JSON: {error}", file=file) from error
    for name, entry in facts.items() if isinstance(facts, dict) else [("", None)]:
        if not isinstance(entry, dict) or not isinstance(entry.get("input"), dict):
            raise CatalogError("must contain entries as in /object_info", file=file, where=name)
    return cast(NodeFacts, facts)
