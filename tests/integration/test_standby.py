"""A scheduler that stands by, as probes, Prometheus and callers meet it."""

from __future__ import annotations

import aiohttp
import pytest

from comfy_instances.process.child import find_free_port
from orchestrator.web.standby import standby_site


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/models", 503)]
)
async def test_answers_probes_and_scrapes_only(path: str, status: int) -> None:
    port = find_free_port()
    async with (
        standby_site("127.0.0.1", port),
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        assert response.status == status
        body = await response.text()
        if path == "/metrics":
            # Up, with no metric: the leader's are not counted twice.
            assert (body, response.content_type) == ("", "text/plain")
        if status == 503:
            assert response.headers["Retry-After"] == "2"
