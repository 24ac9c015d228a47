"""The HTTP server: aiohttp's, with limits on time, connections and descriptors."""

from __future__ import annotations

from orchestrator.web.server.descriptors import raise_descriptor_limit
from orchestrator.web.server.limits import ServerLimits
from orchestrator.web.server.runner import BoundedAppRunner

__all__ = ["BoundedAppRunner", "ServerLimits", "raise_descriptor_limit"]
