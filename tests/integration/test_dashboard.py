"""The dashboard's own API: for signed-in browsers on our own pages, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http.cookies import Morsel
from typing import Any

import aiohttp
import pytest

from orchestrator.web.dashboard.sessions import SESSION_COOKIE
from tests.support.service import ServiceProcess

SMALL = {"model": "flux-1-schnell", "params": {"prompt": "a cat", "width": 256, "height": 256, "n": 2}}
API = "/dashboard/api"


def browser(service: ServiceProcess) -> aiohttp.ClientSession:
    """Keeps cookies, and says where its requests come from, as a browser does."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address too
    return aiohttp.ClientSession(service.url, headers={"Origin": service.url}, cookie_jar=jar)


async def sign_in(http: aiohttp.ClientSession, credential: str) -> int:
    async with http.post("/session", json={"credential": credential}) as response:
        return response.status


@pytest.fixture
async def signed_in(service: ServiceProcess, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with browser(service) as http:
        assert await sign_in(http, key) == 204
        yield http


@pytest.fixture
async def operator(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with browser(service) as http:
        assert await sign_in(http, service.admin_token) == 204
        yield http


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, **options: Any
) -> tuple[int, dict[str, Any]]:
    async with http.request(method, path, **options) as response:
        return response.status, await response.json()


def cookie(http: aiohttp.ClientSession) -> Morsel[str]:
    (found,) = http.cookie_jar
    return found


async def test_the_cookie_is_out_of_reach_and_says_nothing_of_the_key(
    signed_in: aiohttp.ClientSession, key: str
) -> None:
    found = cookie(signed_in)
    assert (found.key, found["httponly"], found["samesite"], found["path"]) == (
        SESSION_COOKIE,
        True,
        "Strict",
        "/",
    )
    assert key not in found.value
    assert int(found["max-age"]) <= 12 * 3600


@pytest.mark.parametrize("credential", ["", " ", "pk-wrong", "pk-\ud800", 7, None])
async def test_who_has_no_key_stays_outside(service: ServiceProcess, credential: object) -> None:
    async with browser(service) as http:
        status, body = await ask(http, "POST", "/session", data=json.dumps({"credential": credential}))
        assert (status, body["error"]["type"]) == (401, "authentication_error")
        assert len(http.cookie_jar) == 0
        status, body = await ask(http, "GET", f"{API}/account")
        assert (status, body["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("value", ["", "x", "operator.a.9999999999", "operator.a.9999999999.00", "a.b.c.d.e"])
async def test_a_made_up_cookie_opens_nothing(service: ServiceProcess, value: str) -> None:
    async with aiohttp.ClientSession(service.url, cookies={SESSION_COOKIE: value}) as http:
        for path in (f"{API}/account", f"{API}/admin/v1/instances"):
            status, body = await ask(http, "GET", path)
            assert (status, body["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
async def test_other_sites_can_change_nothing(
    signed_in: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    for method, path in (("POST", f"{API}/jobs"), ("DELETE", "/session"), ("POST", "/session")):
        status, body = await ask(signed_in, method, path, headers=headers, json=SMALL)
        assert (status, body["error"]["code"]) == (403, "wrong_origin")


async def test_a_session_is_no_key_for_the_api(
    signed_in: aiohttp.ClientSession, operator: aiohttp.ClientSession
) -> None:
    for path in ("/api/v1/jobs", "/api/v1/billing/balance"):
        assert (await ask(signed_in, "GET", path))[0] == 401
    assert (await ask(operator, "GET", "/admin/v1/instances"))[0] == 401


async def test_a_key_is_no_session_for_the_dashboard(service: ServiceProcess, key: str) -> None:
    for token in (key, service.admin_token):
        async with service.client(token) as http:
            assert (await ask(http, "GET", f"{API}/account"))[0] == 401
            assert (await ask(http, "GET", f"{API}/admin/v1/queue"))[0] == 401


async def test_callers_do_not_operate_and_operators_do_not_spend(
    signed_in: aiohttp.ClientSession, operator: aiohttp.ClientSession
) -> None:
    status, body = await ask(signed_in, "GET", f"{API}/admin/v1/instances")
    assert (status, body["error"]["code"]) == (403, "needs_admin_token")
    status, body = await ask(operator, "POST", f"{API}/jobs", json=SMALL)
    assert (status, body["error"]["code"]) == (403, "needs_api_key")


async def test_signing_out_ends_a_copied_cookie_too(service: ServiceProcess, key: str) -> None:
    async with browser(service) as http:
        await sign_in(http, key)
        copied = cookie(http).value
        async with http.delete("/session") as response:
            assert response.status == 204
        assert len(http.cookie_jar) == 0
    async with aiohttp.ClientSession(service.url, cookies={SESSION_COOKIE: copied}) as thief:
        assert (await ask(thief, "GET", f"{API}/account"))[0] == 401
        assert await ask(thief, "GET", "/session") == (200, {"signed_in": False})


async def test_a_revoked_key_is_out_at_once(service: ServiceProcess) -> None:
    made = service.run("keys", "create", "--credit", "1.00")
    async with browser(service) as http:
        await sign_in(http, made["key"])
        assert (await ask(http, "GET", f"{API}/account"))[1]["balance"]["available_usd"] == 1.0
        service.run("keys", "revoke", made["id"])
        assert (await ask(http, "GET", f"{API}/account"))[0] == 401
        async with http.get("/", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/sign-in")


async def test_a_job_from_quote_to_file(signed_in: aiohttp.ClientSession) -> None:
    assert await ask(signed_in, "POST", f"{API}/quote", json=SMALL) == (
        200,
        {"cost_usd": 0.01, "minimum_applied": True},
    )
    status, job = await ask(signed_in, "POST", f"{API}/jobs", json=SMALL)
    assert (status, job["status"], job["shards"]["total"]) == (202, "pending", 2)
    events = await _live(signed_in, job["jobId"])
    assert events[-1]["status"] == "completed"
    _, page = await ask(signed_in, "GET", f"{API}/jobs?limit=1")
    (latest,) = page["jobs"]
    assert [(output["type"], output["width"]) for output in latest["outputs"]] == [("image/png", 256)] * 2
    async with signed_in.get(f"{API}/jobs/{job['jobId']}/outputs/1") as response:
        assert response.headers["Content-Disposition"].startswith('attachment; filename="flux-1-schnell-')
        assert (await response.read()).startswith(b"\x89PNG")
    status, body = await ask(signed_in, "GET", f"{API}/jobs/{job['jobId']}/outputs/2")
    assert (status, body["error"]["code"]) == (404, "output_not_found")


async def test_the_largest_seed_survives_javascript(signed_in: aiohttp.ClientSession) -> None:
    asked = SMALL | {"params": {"prompt": "a cat", "width": 256, "height": 256, "seed": 2**64 - 1}}
    _, job = await ask(signed_in, "POST", f"{API}/jobs", json=asked)
    assert job["params"]["seed"] == "18446744073709551615"


async def test_several_jobs_are_followed_over_one_stream(signed_in: aiohttp.ClientSession) -> None:
    jobs = [(await ask(signed_in, "POST", f"{API}/jobs", json=SMALL))[1]["jobId"] for _ in range(3)]
    events = await _live(signed_in, *jobs)
    done = {event["jobId"] for event in events if event.get("status") == "completed"}
    assert done == set(jobs)


async def _live(http: aiohttp.ClientSession, *jobs: str) -> list[dict[str, Any]]:
    async with http.get(f"{API}/live", params=[("job", job) for job in jobs]) as response:
        assert response.content_type == "text/event-stream"
        text = await response.text()
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


async def test_others_jobs_do_not_exist(signed_in: aiohttp.ClientSession, service: ServiceProcess) -> None:
    _, job = await ask(signed_in, "POST", f"{API}/jobs", json=SMALL)
    await _live(signed_in, job["jobId"])
    async with browser(service) as stranger:
        await sign_in(stranger, service.key())
        for method, path in (
            ("GET", f"jobs/{job['jobId']}/outputs/0"),
            ("GET", f"live?job={job['jobId']}"),
            ("DELETE", f"jobs/{job['jobId']}"),
        ):
            status, body = await ask(stranger, method, f"{API}/{path}")
            assert (status, body["error"]["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    "body", [{}, {"model": "flux-1-schnell"}, {"model": 7, "params": {}}, SMALL | {"params": []}]
)
async def test_what_makes_no_sense_is_refused(signed_in: aiohttp.ClientSession, body: Any) -> None:
    for path in ("quote", "jobs"):
        status, answer = await ask(signed_in, "POST", f"{API}/{path}", json=body)
        assert (status, answer["error"]["type"]) == (400, "invalid_request")


async def test_a_limited_key_is_limited_here_too(service: ServiceProcess) -> None:
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    limits = {"name": "guest", "credit_usd": "1.00", "scopes": ["read"], "models": ["sdxl-1.0"]}
    async with browser(service) as http:
        status, made = await ask(http, "POST", "/admin/v1/keys", json=limits, headers=headers)
        assert status == 201
        await sign_in(http, made["key"])
        assert [model["id"] for model in (await ask(http, "GET", f"{API}/models"))[1]["models"]] == [
            "sdxl-1.0"
        ]
        assert (await ask(http, "GET", f"{API}/account"))[1]["balance"] is None
        status, body = await ask(http, "POST", f"{API}/jobs", json=SMALL)
        assert (status, body["error"]["code"]) == (403, "insufficient_scope")


async def test_pages_come_under_a_strict_policy(service: ServiceProcess) -> None:
    async with browser(service) as http, http.get("/sign-in") as response:
        policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        html = await response.text()
        etag = response.headers["ETag"]
    assert " style=" not in html
    assert "<script>" not in html
    async with browser(service) as http, http.get("/sign-in", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "..%2fsessions.py", "%2e%2e%2fsessions.py"])
async def test_only_what_is_meant_to_be_served_is_served(service: ServiceProcess, name: str) -> None:
    async with browser(service) as http, http.get(f"/dashboard/static/{name}") as response:
        assert response.status == 404
