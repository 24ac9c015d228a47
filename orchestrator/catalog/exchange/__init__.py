"""The way in for graph authors, and the way back: ComfyUI's own formats to models and back. Pure."""

from __future__ import annotations

from orchestrator.catalog.exchange.exporter import export_api, export_ui
from orchestrator.catalog.exchange.importer import Imported, import_workflow
from orchestrator.catalog.exchange.ui_graph import BadWorkflow
from orchestrator.catalog.exchange.workflow_files import read_workflow

__all__ = ["BadWorkflow", "Imported", "export_api", "export_ui", "import_workflow", "read_workflow"]
