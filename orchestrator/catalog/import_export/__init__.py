"""Import ComfyUI workflows as models, and export models as workflows. Reads and writes no files."""

from __future__ import annotations

from orchestrator.catalog.import_export.exporter import export_api, export_ui
from orchestrator.catalog.import_export.importer import ImportedModel, import_workflow
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.import_export.workflow_files import read_workflow

__all__ = ["ImportedModel", "InvalidWorkflow", "export_api", "export_ui", "import_workflow", "read_workflow"]
