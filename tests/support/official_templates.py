"""The workflows that come with an installed ComfyUI: several hundred that we did not draw."""

from __future__ import annotations

import json
from typing import Any

from tests.support.comfyui_server import installed_comfyui

PACKAGE = "venv/lib/python*/site-packages/comfyui_workflow_templates_json/templates/*.json"


def official_templates() -> dict[str, Any]:
    """Workflows in UI format, by name; none where no ComfyUI is installed."""
    folder = installed_comfyui()
    files = sorted(folder.glob(PACKAGE)) if folder is not None else []
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in files}
    return {name: data for name, data in found.items() if isinstance(data, dict) and "nodes" in data}
