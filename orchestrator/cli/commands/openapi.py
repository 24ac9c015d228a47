"""`pixelfactory openapi`: print the OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.app.openapi_app import build_openapi_app
from orchestrator.cli.terminal.console import ConfigOption, print_json, read_settings
from orchestrator.settings import Settings
from orchestrator.web.openapi.document import build_openapi_document


def openapi(config: ConfigOption = None) -> None:
    """Print the OpenAPI 3.1 document of the HTTP API."""
    print_json(asyncio.run(_build_document(read_settings(config=config))))


async def _build_document(settings: Settings) -> dict[str, Any]:
    async with build_openapi_app(settings) as app:
        return build_openapi_document(app)
