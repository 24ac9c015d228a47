"""The workflows that come with an installed ComfyUI: several hundred that we did not draw."""

from __future__ import annotations

import json
from typing import Any

from platformdirs import user_data_path

PACKAGE = "comfyui/venv/lib/python*/site-packages/comfyui_workflow_templates_json/templates/*.json"


def official_templates() -> dict[str, Any]:
    """Workflows in UI format, by name; none where no ComfyUI is installed."""
    files = sorted(user_data_path("pixelfactory").glob(PACKAGE))
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in files}
    return {name: data for name, data in found.items() if isinstance(data, dict) and "nodes" in data}
