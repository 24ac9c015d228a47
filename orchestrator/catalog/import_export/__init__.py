"""Import ComfyUI workflows as models, and export models as workflows. Reads and writes no files."""

from __future__ import annotations

from orchestrator.catalog.import_export.exporter import export_api, export_ui
from orchestrator.catalog.import_export.import_report import import_report
from orchestrator.catalog.import_export.importer import ImportedModel, import_workflow
from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow
from orchestrator.catalog.import_export.workflow_files import (
    WorkflowFile,
    find_graphs,
    read_workflow,
    read_workflow_file,
)

__all__ = [
    "ImportedModel",
    "InvalidWorkflow",
    "WorkflowFile",
    "export_api",
    "export_ui",
    "find_graphs",
    "import_report",
    "import_workflow",
    "read_workflow",
    "read_workflow_file",
]
