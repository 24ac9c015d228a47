"""Models that the operator lets stand in for proprietary ones, asked for in the words of several dialects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.callers import new_key
from tests.support.service import ServiceProcess, pixelfactory


async def test_openais_names(offering: ServiceProcess, service: ServiceProcess) -> None:
    """The answer names the model that made it."""
    body = {"model": "dall-e-3", "prompt": "a cat", "size": "512x512"}
    async with offering.client(new_key(offering)) as http:
        async with http.post("/v1/images/generations", json=body) as response:
            assert response.status == 200
        async with http.post("/v1/videos", json={"model": "sora-2", "prompt": "waves"}) as response:
            assert (await response.json())["model"] == "ltx2.3-t2v"
    async with (
        service.client(new_key(service)) as http,
        http.post("/v1/images/generations", json=body) as response,
    ):
        assert (response.status, (await response.json())["error"]["code"]) == (400, "model_not_found")


@pytest.mark.parametrize(("name", "credits"), [("flux-2-pro", 1.5), ("flux-2-max", 2)])
async def test_pixeldojo_names_have_their_documented_prices(
    offering: ServiceProcess, name: str, credits: float
) -> None:
    async with offering.client(new_key(offering)) as http:
        async with http.post(f"/api/v1/models/{name}/run", json={"prompt": "a"}) as response:
            made = await response.json()
        assert (response.status, made["creditCost"]) == (200, credits)
        async with http.get(f"/api/v1/jobs/{made['jobId']}") as response:
            assert (await response.json())["model"] == "flux-2-dev"


async def test_they_are_not_listed(offering: ServiceProcess) -> None:
    async with offering.client() as anybody, anybody.get("/v1/models") as response:
        listed = (await response.json())["data"]
    names = {name for model in listed for name in (model["id"], *model["aliases"])}
    assert not names & {"dall-e-3", "sora-2", "flux-2-pro", "flux-pro"}


async def test_operators_see_them(offering: ServiceProcess) -> None:
    async with offering.client(offering.admin_token) as http, http.get("/admin/v1/models") as response:
        models = {model["id"]: model["stands_in_for"] for model in (await response.json())["models"]}
    assert models["ltx2.3-t2v"] == ["sora-2"]
    assert models["sd-1.5"] == []


def test_an_invalid_table_is_reported_at_the_start(tmp_path: Path) -> None:
    table = tmp_path / "mine.toml"
    table.write_text('"sora-2" = { model = "nobody", enabled = true }\n')
    up = ("up", "--simulate", "1", "--port", "0", "--data-dir", str(tmp_path / "data"))
    done = pixelfactory(*up, check=False, PIXELFACTORY_STAND_INS_FILE=str(table))
    assert done.returncode == 1
    assert "the catalog has no model 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr
