"""The models that are shipped, loaded once in each process of the tests."""

from __future__ import annotations

from orchestrator.catalog import Catalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR

#: Models do not change; a test that needs stand-ins or other models makes a catalogue of its own from it.
SHIPPED_CATALOG = Catalog.load(SHIPPED_WORKFLOWS_DIR)
