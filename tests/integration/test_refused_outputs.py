"""Results that the output check refuses: blocked in the words of each dialect, and not charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from tests.support.api import inject_fault
from tests.support.callers import new_key, wait_for_status
from tests.support.service import ServiceProcess


@asynccontextmanager
async def refusing(service: ServiceProcess) -> AsyncIterator[None]:
    """The next prompt is refused, wherever it runs."""
    await inject_fault(service, "refuse", 1)
    yield
    await inject_fault(service, "refuse", 0)


@pytest.fixture
def key(offering: ServiceProcess) -> str:
    return new_key(offering, "1.00")


async def test_the_sdk_raises_what_a_refused_prompt_raises(offering: ServiceProcess, key: str) -> None:
    async with refusing(offering), openai.AsyncOpenAI(base_url=f"{offering.url}/v1", api_key=key) as client:
        with pytest.raises(openai.BadRequestError, match="content policy") as caught:
            await client.images.generate(model="flux-1-schnell", prompt="a cat", size="256x256")
    assert caught.value.code == "content_policy_violation"


async def test_a_refused_generation_is_blocked(offering: ServiceProcess, key: str) -> None:
    async with refusing(offering), offering.client(key) as http:
        async with http.post("/v1/image/generate", json={"prompt": "a cat"}) as response:
            generation = (await response.json())["generation_id"]
        await wait_for_status(http, f"/v1/image/{generation}", "blocked")
        async with http.get("/v1/account/balance") as response:
            assert (await response.json())["credits_remaining"] == 1000


async def test_a_refused_run_has_failed(offering: ServiceProcess, key: str) -> None:
    async with refusing(offering), offering.client(key) as http:
        async with http.post("/api/v1/models/flux-1-schnell/run", json={"prompt": "a cat"}) as response:
            job = (await response.json())["jobId"]
        seen = await wait_for_status(http, f"/api/v1/jobs/{job}", "failed")
        assert seen["error"]["code"] == "content_policy_violation"
        assert seen["creditCost"] == 0


async def test_whatever_is_not_refused_passes(offering: ServiceProcess, key: str) -> None:
    async with (
        offering.client(key) as http,
        http.post("/v1/images/generations", json={"prompt": "a cat"}) as response,
    ):
        assert response.status == 200, await response.text()
