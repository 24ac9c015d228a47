"""`pixelfactory openapi`: the document of every address."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.cli.console import Config, print_json, read_settings
from orchestrator.outline import outlined
from orchestrator.settings import Settings
from orchestrator.web.openapi import document


def openapi(config: Config = None) -> None:
    """Print the OpenAPI 3.1 document of the HTTP API."""
    print_json(asyncio.run(_document(read_settings(config=config))))


async def _document(settings: Settings) -> dict[str, Any]:
    async with outlined(settings) as app:
        return document(app)
