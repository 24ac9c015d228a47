"""The texts of a model's files, from which it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.example_files import ExampleFile, parse_example_files


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The texts of a model's files."""

    manifest: str
    graph: str
    #: Facts of nodes of a node pack, from `nodes.json` (as in `/object_info`).
    node_facts: NodeFacts
    #: The author's input files, `examples.json`; empty for none.
    examples: str = ""
    #: The content of files that every run loads, `fixed_files.json`; empty for none.
    fixed_files: str = ""

    @property
    def template(self) -> dict[str, Any]:
        """The graph with its expressions, as JSON."""
        template: dict[str, Any] = json.loads(self.graph)
        return template

    @property
    def example_files(self) -> Mapping[str, ExampleFile]:
        """The author's input files, by parameter."""
        return _parse_examples(self.examples)


@lru_cache(maxsize=32)
def _parse_examples(text: str) -> Mapping[str, ExampleFile]:
    return parse_example_files(text)
