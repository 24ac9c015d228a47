"""Every code example of PixelDojo's two documents, unchanged but for host, key, receiver and job id.

They lie in `tests/documents/pixeldojo`, the same in both versions, with the line breaks that the documents
lost. Their model is a proprietary one: the operator of this service lets another one stand in for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.callers import new_key, run_program, wait_for_status
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import ReceivedWebhook, WebhookReceiver, receiving

EXAMPLES = Path(__file__).parent.parent / "documents" / "pixeldojo"


def example(name: str, service: ServiceProcess, key: str, receiver: WebhookReceiver) -> str:
    text = (EXAMPLES / f"{name}.txt").read_text()
    for placeholder in ("YOUR_API_KEY", "your_api_key"):
        text = text.replace(placeholder, key)
    text = text.replace("https://example.com/webhook", receiver.url)
    return text.replace("https://pixeldojo.ai", service.url)


async def test_runs_the_scripts(offering: ServiceProcess, tmp_path: Path) -> None:
    """They run concurrently, because each of them sleeps for seconds; their signed webhooks arrive too."""
    key = new_key(offering)
    async with receiving() as receiver:
        script = example("javascript.js", offering, key, receiver)
        (tmp_path / "example.mjs").write_text(script)
        python, node = await asyncio.gather(
            run_program(tmp_path, sys.executable, "-c", example("python.py", offering, key, receiver)),
            run_program(tmp_path, "node", "example.mjs"),
        )
        deliveries = [await receiver.next(), await receiver.next()]
    assert "'status': 'completed'" in python
    assert "'creditCost': 1," in python
    assert "aspect_ratio" in node
    assert "contentType: 'image/png'" in node
    assert f"url: '{receiver.url}'" in node
    secret = await signing_secret(offering, key)
    for delivery in deliveries:
        message = delivery.checked(secret)
        assert message["type"] == "job.succeeded"
        assert message["data"]["status"] == "completed"


async def test_runs_the_curl_examples(offering: ServiceProcess, tmp_path: Path) -> None:
    key = new_key(offering, "1.00")
    async with receiving() as receiver:
        submit = example("submit.sh", offering, key, receiver).replace("curl ", "curl -sS ")
        job = json.loads(await run_program(tmp_path, "sh", "-c", submit))
        assert job == {
            "jobId": job["jobId"],
            "status": "pending",
            "statusUrl": f"{offering.url}/api/v1/jobs/{job['jobId']}",
            "creditCost": 1,
            "creditsRemaining": 99,
        }
        async with offering.client(key) as http:
            await wait_for_status(http, f"/api/v1/jobs/{job['jobId']}", "completed")
        first = await receiver.next()
        poll, jobs, replay = await followed(
            tmp_path, example("follow.sh", offering, key, receiver), job["jobId"]
        )
        second = await receiver.next()
    assert poll["status"] == "completed"
    assert poll["creditCost"] == 1
    assert len(poll["output"]["images"]) == 1
    assert poll["expiresAt"].endswith("Z")
    assert [one["jobId"] for one in jobs["jobs"]] == [job["jobId"]]
    assert replay["webhook"]["status"] == "pending"
    assert same_message(first, second)


async def followed(directory: Path, script: str, job_id: str) -> list[Any]:
    """Return the responses to the three commands."""
    script = script.replace("job_abc123", job_id).replace("curl ", "curl -sS -w '\\n' ")
    return [json.loads(line) for line in (await run_program(directory, "sh", "-c", script)).splitlines()]


def same_message(first: ReceivedWebhook, second: ReceivedWebhook) -> bool:
    """Return whether both deliveries have the id by which receivers detect duplicates."""
    return first.headers["webhook-id"] == second.headers["webhook-id"]


async def signing_secret(service: ServiceProcess, key: str) -> str:
    async with service.client(key) as http, http.get("/api/v1/webhooks/secret") as response:
        return str((await response.json())["secret"])
