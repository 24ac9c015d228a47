"""Every dialect's jobs can tell a webhook, and their caller sees each try."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from orchestrator.web.account.webhook_messages import WebhookMessageDetails, WebhookMessageResponse
from tests.support.api import wait_for_job
from tests.support.callers import new_key
from tests.support.images import base64_png
from tests.support.polling import poll
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import receiving

SMALL = {"model": "flux-1-schnell", "prompt": "a cat"}
ASKED = [
    ("/v1/images/generations", SMALL | {"size": "256x256"}),
    ("/v1/images/edits", {"prompt": "a cat", "image": base64_png(64, 64)}),
    ("/v1/images/variations", {"image": base64_png(64, 64)}),
    ("/v1/videos", {"prompt": "a cat", "seconds": "1"}),
    ("/v1/image/generate", {"model": "flux-schnell", "prompt": "a cat", "width": 512, "height": 512}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_every_dialect_sends_a_webhook(bank: ServiceProcess, path: str, body: dict[str, Any]) -> None:
    async with receiving() as receiver, bank.client(new_key(bank)) as http:
        async with http.post(path, json=body | {"webhook_url": receiver.url}) as response:
            assert response.status == 200, await response.text()
            job_id = response.headers["X-PixelFactory-Job"]
        told = (await receiver.next()).data
        assert (told["jobId"], told["status"]) == (job_id, "completed")


async def test_attempts_are_listed_and_a_message_can_be_replayed(bank: ServiceProcess) -> None:
    async with receiving(500) as receiver, bank.client(new_key(bank)) as http:
        async with http.post(
            "/v1/images/generations", json=SMALL | {"webhook_url": receiver.url}
        ) as response:
            job_id = response.headers["X-PixelFactory-Job"]
        await receiver.next()
        webhook = await wait_for_attempts(http, job_id, 1)
        assert (webhook["status"], webhook["error"]) == ("pending", "HTTP 500")
        assert [(attempt["status"], attempt["error"]) for attempt in webhook["history"]] == [
            (500, "HTTP 500")
        ]
        (message,) = (await get(http, "/api/v1/webhooks/messages"))["messages"]
        address = f"/api/v1/webhooks/messages/{message['id']}"
        async with http.post(f"{address}/replay") as response:
            again = WebhookMessageResponse.model_validate_json(await response.read(), strict=True)
        assert again.attempts == 1
        await receiver.next()
        webhook = await wait_for_attempts(http, job_id, 2)
        assert (webhook["status"], webhook["attempts"]) == ("delivered", 2)
        told = await get(http, address)
        WebhookMessageDetails.model_validate(told)
        assert [attempt["status"] for attempt in told["history"]] == [500, 200]
        assert told["history"] == webhook["history"]


async def test_messages_of_other_accounts_are_reported_as_not_found(bank: ServiceProcess) -> None:
    async with receiving() as receiver, bank.client(new_key(bank)) as http:
        body = {"model": "flux-schnell", "prompt": "a", "webhook_url": receiver.url}
        async with http.post("/v1/image/generate", json=body):
            await receiver.next()
        (message,) = (await get(http, "/api/v1/webhooks/messages"))["messages"]
    async with bank.client(new_key(bank)) as stranger:
        for id in (message["id"], "msg_999999", "msg_", "msg_-1", "msg_x", f"msg_{2**64}"):
            for method, path in (("GET", ""), ("POST", "/replay")):
                address = f"/api/v1/webhooks/messages/{id}{path}"
                async with stranger.request(method, address) as response:
                    error = (await response.json())["error"]
                assert (response.status, error["code"]) == (404, "message_not_found")


async def test_idempotency_key_with_another_webhook_url_is_a_conflict(bank: ServiceProcess) -> None:
    headers = {"Idempotency-Key": "once"}
    async with receiving() as receiver, bank.client(new_key(bank)) as http:
        body = {"model": "flux-schnell", "prompt": "a", "webhook_url": receiver.url}
        for url, status in ((receiver.url, 200), (receiver.url, 200), (f"{receiver.url}other", 409)):
            async with http.post(
                "/v1/image/generate", json=body | {"webhook_url": url}, headers=headers
            ) as response:
                assert response.status == status


async def test_rejects_webhook_urls_that_cannot_receive(bank: ServiceProcess) -> None:
    async with bank.client(new_key(bank)) as http:
        for url in ("ftp://example.com/", "example.com", f"https://example.com/{'x' * 2000}"):
            async with http.post("/v1/images/generations", json=SMALL | {"webhook_url": url}) as response:
                assert response.status == 400
                assert (await response.json())["error"]["code"] == "invalid_webhook_url"


PRIVATE_URLS = (
    "http://127.1:8131/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://017700000001/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://127.0.0.1./",
    "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a00:1::]/",
    "http://0/",
    "http://LocalHost./",
    "http://runsc/",
    "http://vm:8131/",
    "http://metadata.google.internal/",
    "http://no-such-name.invalid/",
    "http://1.1.1.1@10.0.0.1/",
    "http://10.0.0.1#@1.1.1.1/",
    "http://10.0.0.1\\@1.1.1.1/",
    "http://256.1.1.1/",
)


async def test_rejects_private_webhook_urls_in_every_spelling_with_one_answer(
    service: ServiceProcess,
) -> None:
    answers = set()
    async with service.client(new_key(service)) as http:
        for url in PRIVATE_URLS:
            async with http.post("/v1/images/generations", json=SMALL | {"webhook_url": url}) as response:
                error = (await response.json())["error"]
                reason, _, shown = error["message"].partition(" (got ")
                answers.add((response.status, error["code"], reason))
                assert shown.startswith(("'http://", '"http://')), error
        assert len(answers) == 1, answers
        assert {(status, code) for status, code, _ in answers} == {(400, "invalid_webhook_url")}
        for url in PRIVATE_URLS[:5]:
            alert = {"watch": "balance", "threshold_usd": 1, "url": url}
            async with http.post("/api/v1/billing/alerts", json=alert) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_url")
            for path, body, code in (
                ("/api/v1/models/flux-1-schnell/run", {"prompt": "a"}, "validation_error"),
                ("/v1/image/generate", {"model": "flux-schnell", "prompt": "a"}, None),
            ):
                async with http.post(path, json=body | {"webhook_url": url}) as response:
                    assert response.status in (400, 422)
                    assert code is None or (await response.json())["error"]["code"] == code
        assert (await get(http, "/api/v1/webhooks/messages"))["messages"] == []
        assert (await get(http, "/api/v1/jobs"))["jobs"] == []


async def test_accepts_webhook_urls_of_public_hosts(service: ServiceProcess) -> None:
    async with service.client(new_key(service)) as http:
        for url in ("http://1.1.1.1:9/", "https://[2606:4700:4700::1111]/hook?a=b", "http://134744072/"):
            alert = {"watch": "balance", "threshold_usd": 1, "url": url}
            async with http.post("/api/v1/billing/alerts", json=alert) as response:
                assert response.status == 201, await response.text()


async def wait_for_attempts(http: aiohttp.ClientSession, job_id: str, attempts: int) -> Any:
    """Return the job's webhook once that many delivery attempts are recorded."""

    async def webhook() -> Any:
        return (await wait_for_job(http, job_id, "completed"))["webhook"]

    return await poll(webhook, lambda found: len(found["history"]) >= attempts)


async def get(http: aiohttp.ClientSession, address: str) -> Any:
    async with http.get(address) as response:
        assert response.status == 200, await response.text()
        return await response.json()
