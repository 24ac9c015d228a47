"""The dashboard's API, pages and static files: access control and behaviour."""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import AsyncIterator
from http.cookies import Morsel
from typing import Any

import aiohttp
import pytest
from PIL import Image

from orchestrator.web.dashboard.pages import load_static_files, render_pages, version_of
from orchestrator.web.dashboard.sessions import SESSION_COOKIE
from tests.support.images import base64_png
from tests.support.service import ServiceProcess

SMALL = {"model": "flux-1-schnell", "params": {"prompt": "a cat", "width": 256, "height": 256, "n": 2}}
API = "/dashboard/api"


def browser(service: ServiceProcess) -> aiohttp.ClientSession:
    """Return a client that keeps cookies and sends an Origin header, like a browser."""
    jar = aiohttp.CookieJar(unsafe=True)  # accept cookies from IP addresses
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


async def test_cookie_is_protected_and_does_not_contain_the_key(
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
async def test_rejects_invalid_credentials(service: ServiceProcess, credential: object) -> None:
    async with browser(service) as http:
        status, body = await ask(http, "POST", "/session", data=json.dumps({"credential": credential}))
        assert (status, body["error"]["type"]) == (401, "authentication_error")
        assert len(http.cookie_jar) == 0
        status, body = await ask(http, "GET", f"{API}/account")
        assert (status, body["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("value", ["", "x", "operator.a.9999999999", "operator.a.9999999999.00", "a.b.c.d.e"])
async def test_rejects_a_forged_cookie(service: ServiceProcess, value: str) -> None:
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
async def test_rejects_changes_from_other_origins(
    signed_in: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    for method, path in (("POST", f"{API}/jobs"), ("DELETE", "/session"), ("POST", "/session")):
        status, body = await ask(signed_in, method, path, headers=headers, json=SMALL)
        assert (status, body["error"]["code"]) == (403, "wrong_origin")


async def test_public_api_rejects_a_session(
    signed_in: aiohttp.ClientSession, operator: aiohttp.ClientSession
) -> None:
    for path in ("/api/v1/jobs", "/api/v1/billing/balance"):
        assert (await ask(signed_in, "GET", path))[0] == 401
    assert (await ask(operator, "GET", "/admin/v1/instances"))[0] == 401


async def test_dashboard_api_rejects_an_api_key(service: ServiceProcess, key: str) -> None:
    for token in (key, service.admin_token):
        async with service.client(token) as http:
            assert (await ask(http, "GET", f"{API}/account"))[0] == 401
            assert (await ask(http, "GET", f"{API}/admin/v1/queue"))[0] == 401


async def test_keys_cannot_operate_and_operators_cannot_submit_jobs(
    signed_in: aiohttp.ClientSession, operator: aiohttp.ClientSession
) -> None:
    status, body = await ask(signed_in, "GET", f"{API}/admin/v1/instances")
    assert (status, body["error"]["code"]) == (403, "needs_admin_token")
    status, body = await ask(operator, "POST", f"{API}/jobs", json=SMALL)
    assert (status, body["error"]["code"]) == (403, "needs_api_key")


async def test_sign_out_revokes_copies_of_the_cookie(service: ServiceProcess, key: str) -> None:
    async with browser(service) as http:
        await sign_in(http, key)
        copied = cookie(http).value
        async with http.delete("/session") as response:
            assert response.status == 204
        assert len(http.cookie_jar) == 0
    async with aiohttp.ClientSession(service.url, cookies={SESSION_COOKIE: copied}) as client:
        assert (await ask(client, "GET", f"{API}/account"))[0] == 401
        assert await ask(client, "GET", "/session") == (200, {"signed_in": False})


async def test_revoking_a_key_ends_its_sessions(service: ServiceProcess) -> None:
    made = service.run("keys", "create", "--credit", "1.00")
    async with browser(service) as http:
        await sign_in(http, made["key"])
        assert (await ask(http, "GET", f"{API}/account"))[1]["balance"]["available_usd"] == 1.0
        service.run("keys", "revoke", made["id"])
        assert (await ask(http, "GET", f"{API}/account"))[0] == 401
        async with http.get("/", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/sign-in")


async def test_quotes_submits_streams_and_downloads_a_job(signed_in: aiohttp.ClientSession) -> None:
    assert await ask(signed_in, "POST", f"{API}/quote", json=SMALL) == (
        200,
        {"cost_usd": 0.01, "minimum_applied": True},
    )
    status, job = await ask(signed_in, "POST", f"{API}/jobs", json=SMALL)
    assert (status, job["status"], job["shards"]["total"]) == (202, "pending", 2)
    events = await stream_events(signed_in, job["jobId"])
    assert events[-1]["status"] == "completed"
    _, page = await ask(signed_in, "GET", f"{API}/jobs?limit=1")
    (latest,) = page["jobs"]
    assert [(output["type"], output["width"]) for output in latest["outputs"]] == [("image/png", 256)] * 2
    async with signed_in.get(f"{API}/jobs/{job['jobId']}/outputs/1") as response:
        assert response.headers["Content-Disposition"].startswith('attachment; filename="flux-1-schnell-')
        assert (await response.read()).startswith(b"\x89PNG")
    status, body = await ask(signed_in, "GET", f"{API}/jobs/{job['jobId']}/outputs/2")
    assert (status, body["error"]["code"]) == (404, "output_not_found")


async def test_seed_is_a_string_that_keeps_all_digits(signed_in: aiohttp.ClientSession) -> None:
    body = SMALL | {"params": {"prompt": "a cat", "width": 256, "height": 256, "seed": 2**64 - 1}}
    _, job = await ask(signed_in, "POST", f"{API}/jobs", json=body)
    assert job["params"]["seed"] == "18446744073709551615"


async def test_streams_events_of_several_jobs_at_once(signed_in: aiohttp.ClientSession) -> None:
    jobs = [(await ask(signed_in, "POST", f"{API}/jobs", json=SMALL))[1]["jobId"] for _ in range(3)]
    events = await stream_events(signed_in, *jobs)
    done = {event["jobId"] for event in events if event.get("status") == "completed"}
    assert done == set(jobs)


async def stream_events(http: aiohttp.ClientSession, *jobs: str) -> list[dict[str, Any]]:
    async with http.get(f"{API}/live", params=[("job", job) for job in jobs]) as response:
        assert response.content_type == "text/event-stream"
        text = await response.text()
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


async def test_gallery_finds_deletes_and_shows_jobs(signed_in: aiohttp.ClientSession) -> None:
    made = {}
    for prompt in ("a red fox", "a blue whale"):
        body = {"model": "flux-1-schnell", "params": {**SMALL["params"], "prompt": prompt}}  # type: ignore[dict-item]
        _, job = await ask(signed_in, "POST", f"{API}/jobs", json=body)
        made[prompt] = job["jobId"]
        await stream_events(signed_in, job["jobId"])
    for query, expected in (
        ("q=FOX", ["a red fox"]),
        ("q=a&model=flux-1-schnell", ["a blue whale", "a red fox"]),
        ("kind=video", []),
        ("kind=image&status=completed", ["a blue whale", "a red fox"]),
        ("status=failed", []),
        ("since=2020-01-01T00:00:00Z&before=2020-01-02T00:00:00%2B01:00", []),
    ):
        _, page = await ask(signed_in, "GET", f"{API}/jobs?{query}")
        found = [job["params"]["prompt"] for job in page["jobs"]]
        assert [prompt for prompt in found if prompt in made] == expected
    job_id = made["a red fox"]
    _, job = await ask(signed_in, "GET", f"{API}/jobs/{job_id}")
    assert [int(output["seed"]) - int(job["params"]["seed"]) for output in job["outputs"]] == [0, 1]
    assert (job["shardStates"], job["expired"], job["costUsd"]) == (["succeeded"] * 2, False, job["priceUsd"])
    for output in job["outputs"]:
        async with signed_in.get(output["thumbnail"]) as response:
            assert (response.status, response.content_type) == (200, "image/webp")
            assert len(await response.read()) <= 40_000
            assert "private" in response.headers["Cache-Control"]
    async with signed_in.delete(f"{API}/gallery/{job_id}") as response:
        assert response.status == 204
    assert (await ask(signed_in, "GET", f"{API}/jobs/{job_id}"))[0] == 404
    assert (await ask(signed_in, "GET", job["outputs"][0]["thumbnail"]))[0] == 404
    _, page = await ask(signed_in, "GET", f"{API}/jobs")
    found = [job["params"]["prompt"] for job in page["jobs"]]
    assert [prompt for prompt in found if prompt in made] == ["a blue whale"]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "since=yesterday",
        "before=2026-01-01T00:00",
        "limit=0",
        "cursor=job_x",
        f"q={'x' * 201}",
    ],
)
async def test_gallery_rejects_unknown_filters(signed_in: aiohttp.ClientSession, query: str) -> None:
    status, body = await ask(signed_in, "GET", f"{API}/jobs?{query}")
    assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


async def test_gallery_returns_the_inputs_of_a_job(signed_in: aiohttp.ClientSession) -> None:
    image = f"data:image/png;base64,{base64_png(64, 48)}"
    body = {"model": "4x-ultrasharp", "params": {"image": image, "prompt": ""}}
    status, job = await ask(signed_in, "POST", f"{API}/jobs", json=body)
    assert status == 202, job
    assert list(job["inputs"]) == ["image"]
    async with signed_in.get(job["inputs"]["image"][0]) as response:
        with Image.open(io.BytesIO(await response.read())) as found:
            assert found.size == (64, 48)
    assert (await ask(signed_in, "GET", f"{API}/jobs/{job['jobId']}/inputs/image/1"))[0] == 404
    assert (await ask(signed_in, "GET", f"{API}/jobs/{job['jobId']}/inputs/prompt/0"))[0] == 404


async def test_the_selector_names_the_price_that_is_charged(signed_in: aiohttp.ClientSession) -> None:
    _, offer = await ask(signed_in, "GET", f"{API}/models")
    wrong = []
    for model in offer["models"]:
        if any(spec["required"] and spec["type"] != "string" for spec in model["parameters"].values()):
            continue
        params = {"prompt": "a cat"} if "prompt" in model["parameters"] else {}
        texts = {name: "x" for name, spec in model["parameters"].items() if spec["required"]}
        body = {"model": model["id"], "params": texts | params}
        _, quote = await ask(signed_in, "POST", f"{API}/quote", json=body)
        if quote.get("cost_usd") != model["price_usd"]:
            wrong.append((model["id"], model["price_usd"], quote))
    assert wrong == []


async def test_hides_jobs_of_other_accounts(
    signed_in: aiohttp.ClientSession, service: ServiceProcess
) -> None:
    _, job = await ask(signed_in, "POST", f"{API}/jobs", json=SMALL)
    await stream_events(signed_in, job["jobId"])
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
async def test_rejects_malformed_requests(signed_in: aiohttp.ClientSession, body: Any) -> None:
    for path in ("quote", "jobs"):
        status, error = await ask(signed_in, "POST", f"{API}/{path}", json=body)
        assert (status, error["error"]["type"]) == (400, "invalid_request")


async def test_limits_of_a_key_apply_to_its_session(service: ServiceProcess) -> None:
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


async def test_a_key_gives_no_scope_that_it_lacks(service: ServiceProcess, key: str) -> None:
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    async with browser(service) as http:
        await sign_in(http, key)
        status, body = await ask(http, "POST", f"{API}/keys", json={"scopes": ["read", "publish"]})
        assert (status, body["error"]["code"]) == (403, "insufficient_scope")
        assert (await ask(http, "POST", f"{API}/keys", json={"scopes": ["read"]}))[0] == 201
    every = {"scopes": ["generate", "read", "billing", "publish"]}
    async with browser(service) as http:
        made = (await ask(http, "POST", "/admin/v1/keys", json=every, headers=headers))[1]
        await sign_in(http, made["key"])
        assert (await ask(http, "GET", f"{API}/keys"))[1]["may_change"] is True
        assert (await ask(http, "POST", f"{API}/keys", json={"scopes": ["publish"]}))[0] == 201


async def test_pages_have_a_strict_content_security_policy_and_an_etag(service: ServiceProcess) -> None:
    async with browser(service) as http, http.get("/sign-in") as response:
        policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        html = await response.text()
        etag = response.headers["ETag"]
    assert " style=" not in html
    assert "<script>" not in html
    assert re.search(r'<script type="module" src="/dashboard/static/[0-9a-f]{16}/sign-in/sign-in\.js">', html)
    async with browser(service) as http, http.get("/sign-in", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with browser(service) as http:
        for headers, status in (({"If-None-Match": f'"x", W/{etag}'}, 304), ({"If-Match": '"x"'}, 412)):
            async with http.get("/sign-in", headers=headers) as response:
                assert (response.status, await response.read()) == (status, b"")


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "types.d.ts",
        "shared",
        "..%2fsessions.py",
        "%2e%2e%2fsessions.py",
        "..%2ftemplates%2fbase.html",
    ],
)
async def test_serves_only_known_static_files(service: ServiceProcess, name: str) -> None:
    async with browser(service) as http, http.get(f"/dashboard/static/{name}") as response:
        assert response.status == 404


async def test_every_script_that_pages_and_modules_refer_to_is_served(service: ServiceProcess) -> None:
    files = load_static_files()
    version = version_of(files)
    scripts = {
        page.body.decode().partition(f'type="module" src="/dashboard/static/{version}/')[2].partition('"')[0]
        for page in render_pages().values()
    }
    imports = {
        posixpath.normpath(posixpath.join(posixpath.dirname(path), found))
        for path, file in files.items()
        for found in re.findall(r'^import .* from "(.+)";$', file.body.decode(), re.MULTILINE)
    }
    assert len(scripts) == 12
    assert scripts | imports <= files.keys()
    async with browser(service) as http:
        for path in sorted(scripts):
            async with http.get(f"/dashboard/static/{version}/{path}") as response:
                assert (response.status, response.content_type) == (200, "text/javascript")


async def test_browsers_keep_files_of_this_version_only(service: ServiceProcess) -> None:
    version, other = version_of(load_static_files()), "0" * 16
    kept, asked_for = "public, max-age=31536000, immutable", "no-cache"
    expected = {
        f"{version}/style.css": kept,
        f"{version}/icon.svg": kept,
        f"{other}/style.css": asked_for,
        "style.css": asked_for,
    }
    async with browser(service) as http:
        for path, caching in expected.items():
            async with http.get(f"/dashboard/static/{path}") as response:
                assert (response.status, response.headers["Cache-Control"]) == (200, caching)
                # An image may be opened as a page.
                assert ("Content-Security-Policy" in response.headers) is path.endswith(".svg")
        async with http.get("/sign-in") as response:
            assert response.headers["Cache-Control"] == asked_for
