"""PixelAPI: what its document states beyond its examples."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from orchestrator.web.dialects.pixelapi import schemas as answers
from tests.support.callers import new_key, set_back, wait_for_status
from tests.support.images import base64_png, size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

GENERATE = "/v1/image/generate"
SDXL = {"model": "sdxl", "prompt": "a cat", "width": 512, "height": 512}


async def submit(http: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    async with http.post(GENERATE, json=fields) as response:
        assert response.status == 200, await response.text()
        body = dict(await response.json())
    answers.PixelApiSubmitResponse.model_validate(body, strict=True)
    return body


async def params(http: aiohttp.ClientSession, generation_id: str) -> dict[str, Any]:
    """Return the parameters of a job from the jobs API."""
    async with http.get(f"/api/v1/jobs/job_{generation_id.replace('-', '')}") as response:
        return dict((await response.json())["params"])


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


async def test_applies_the_documented_defaults(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await submit(http, prompt="a cat")
        assert made["model"] == "sdxl"
        seen = await params(http, made["generation_id"])
        chosen = {name: seen[name] for name in ("width", "height", "steps", "cfg_scale", "negative_prompt")}
        assert chosen == {"width": 1024, "height": 1024, "steps": 30, "cfg_scale": 7.5, "negative_prompt": ""}
        made = await submit(http, model="flux-schnell", prompt="a cat")
        seen = await params(http, made["generation_id"])
        assert {name: seen[name] for name in ("steps", "cfg_scale")} == {"steps": 4, "cfg_scale": 1.0}


async def test_names_a_stand_in_in_the_submission_the_generation_and_the_history(
    offering: ServiceProcess,
) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await submit(http, model="gpt-image-1", prompt="a cat")
        async with http.get(f"/v1/image/{made['generation_id']}") as response:
            polled = await response.json()
        async with http.get("/v1/account/usage") as response:
            (listed,) = (await response.json())["generations"]
    assert {made["model"], polled["model"], listed["model"]} == {"gpt-image-1"}


async def test_says_that_a_negative_prompt_has_no_effect_on_flux(offering: ServiceProcess) -> None:
    body = {"model": "flux-schnell", "prompt": "a cat", "negative_prompt": "dogs"}
    async with offering.client(new_key(offering)) as http, http.post(GENERATE, json=body) as response:
        assert "`negative_prompt` has no effect" in response.headers["X-PixelFactory-Warnings"]


async def test_applies_every_parameter(offering: ServiceProcess) -> None:
    asked = {
        "width": 520,
        "height": 1536,
        "steps": 50,
        "guidance_scale": 3,
        "seed": 7,
        "negative_prompt": "dogs",
    }
    async with offering.client(new_key(offering)) as http:
        made = await submit(http, model="sdxl", prompt="a cat", **asked)
        seen = await params(http, made["generation_id"])
        assert seen["width"] == 520
        assert {name: seen[name] for name in ("height", "steps", "cfg_scale", "seed", "negative_prompt")} == {
            "height": 1536,
            "steps": 50,
            "cfg_scale": 3.0,
            "seed": 7,
            "negative_prompt": "dogs",
        }
        body = await wait_for_status(http, f"/v1/image/{made['generation_id']}", "completed")
        assert size_of(await download(body["output_url"])) == (520, 1536)


async def test_makes_a_video_and_an_upscaled_image(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        video = await submit(http, model="cogvideo-2b", prompt="waves", num_frames=9)
        large = await submit(http, model="upscale-4x", prompt="larger", image=base64_png(64, 48))
        assert (video["credits_used"], large["credits_used"]) == (25.0, 2.0)
        body = await wait_for_status(http, f"/v1/image/{video['generation_id']}", "completed")
        assert (body["model"], film(await download(body["output_url"])).frames) == ("cogvideo-2b", 9)
        body = await wait_for_status(http, f"/v1/image/{large['generation_id']}", "completed")
        assert (body["model"], size_of(await download(body["output_url"]))) == ("upscale-4x", (256, 192))


async def test_reports_a_blocked_generation_and_does_not_charge_it(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering, "0.001")) as http:
        made = await submit(http, model="sdxl", prompt="An OGRE at dusk")
        async with http.get(f"/v1/image/{made['generation_id']}") as response:
            body = await response.json()
        assert (body["status"], body["output_url"], body["credits_used"]) == ("blocked", None, 0.0)
        async with http.get("/v1/account/balance") as response:
            assert (await response.json())["credits_remaining"] == 1.0


async def test_reports_balance_and_history(offering: ServiceProcess) -> None:
    key = new_key(offering, None, plan="free", name="somebody@example.org")
    async with offering.client(key) as http:
        async with http.get("/v1/account/balance") as response:
            assert await response.json() == {
                "credits_remaining": 100.0,
                "plan": "free",
                "email": "somebody@example.org",
            }
        first = await submit(http, **SDXL)
        second = await submit(http, model="flux-schnell", prompt="a dog")
        await wait_for_status(http, f"/v1/image/{first['generation_id']}", "completed")
        await wait_for_status(http, f"/v1/image/{second['generation_id']}", "completed")
        async with http.get("/v1/account/usage?limit=20") as response:
            history = await response.json()
        answers.PixelApiHistoryResponse.model_validate(history, strict=True)
        generations = history["generations"]
        shown = [(one["id"], one["prompt"], one["model"], one["status"]) for one in generations]
        assert shown == [
            (second["generation_id"], "a dog", "flux-schnell", "completed"),
            (first["generation_id"], "a cat", "sdxl", "completed"),
        ]
        assert all(one["output_url"].startswith("http") for one in generations)
        async with http.get("/v1/account/balance") as response:
            assert (await response.json())["credits_remaining"] == 96.0


async def test_reports_and_enforces_the_rate_limit_of_the_plan(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering, None, plan="free")) as http:
        for left in range(19, -1, -1):
            async with http.get("/v1/account/balance") as response:
                assert response.status == 200
                assert response.headers["X-RateLimit-Remaining"] == str(left)
                assert int(response.headers["X-RateLimit-Reset"]) > 0
        async with http.post(GENERATE, json=SDXL) as response:
            detail = (await response.json())["detail"]
            assert response.status == 429
            assert detail.startswith("Rate limit exceeded for free plan")
            assert int(response.headers["Retry-After"]) > 0


async def test_files_can_be_downloaded_for_a_day(offering: ServiceProcess) -> None:
    async with offering.client(new_key(offering)) as http:
        made = await submit(http, **SDXL)
        path, job = f"/v1/image/{made['generation_id']}", f"job_{made['generation_id'].replace('-', '')}"
        body = await wait_for_status(http, path, "completed")
        answers.PixelApiGenerationResponse.model_validate(body, strict=True)
        url = body["output_url"]
        assert url.startswith(f"{offering.url}/results/{job}/")
        assert body["created_at"].endswith("Z")
        assert (await wait_for_status(http, path, "completed"))["output_url"] == url
        set_back(offering, job, timedelta(hours=23))
        url = (await wait_for_status(http, path, "completed"))["output_url"]
        assert size_of(await download(url)) == (512, 512)
        set_back(offering, job, timedelta(hours=2))
        assert (await wait_for_status(http, path, "completed"))["output_url"] is None
        set_back(offering, job, timedelta(days=7))
        async with http.get(path) as response:
            assert response.status == 404
            assert set(await response.json()) == {"detail"}


@pytest.mark.slow
async def test_a_result_link_answers_head_and_ranges_and_nothing_forged(
    service: ServiceProcess, key: str
) -> None:
    async with service.client(key) as http:
        made = await submit(http, **SDXL)
        body = await wait_for_status(http, f"/v1/image/{made['generation_id']}", "completed")
    url = body["output_url"]
    whole = await download(url)
    async with aiohttp.ClientSession() as browser:
        async with browser.head(url) as response:
            assert (response.status, response.content_type) == (200, "image/png")
            assert response.content_length == len(whole)
        async with browser.get(url, headers={"Range": "bytes=10-19"}) as response:
            assert (response.status, await response.read()) == (206, whole[10:20])
        for forged in (url.replace(".png", ".jpg"), url[:-6] + "00.png", url.partition("-")[0] + ".png"):
            async with browser.get(forged) as response:
                assert response.status == 404, forged


@pytest.mark.parametrize("dialect", first_always(["pixelapi", "openai"]))
async def test_a_result_is_an_input_of_the_next_request(
    service: ServiceProcess, key: str, dialect: str
) -> None:
    """The service may be at an address from which it does not download what callers name."""
    async with service.client(key) as http:
        made = await submit(http, **SDXL)
        body = await wait_for_status(http, f"/v1/image/{made['generation_id']}", "completed")
        if dialect == "pixelapi":
            larger = await submit(http, model="upscale-4x", prompt="", image=body["output_url"])
            body = await wait_for_status(http, f"/v1/image/{larger['generation_id']}", "completed")
            assert size_of(await download(body["output_url"])) == (2048, 2048)
        else:
            asked = {"model": "4x-ultrasharp", "prompt": "", "image": body["output_url"]}
            async with http.post("/v1/images/generations", json=asked) as response:
                assert response.status == 200, await response.text()


async def test_a_key_may_have_the_documents_prefix(service: ServiceProcess) -> None:
    key = new_key(service)
    for spelled in (key, "pk_live_" + key.removeprefix("pk-")):
        async with service.client(spelled) as http, http.get("/v1/account/balance") as response:
            assert response.status == 200
            assert (await response.json())["email"].endswith("@accounts.invalid")
    for wrong in ("pk_live_" + key, "pk_live_", "pk_test_" + key.removeprefix("pk-")):
        async with service.client(wrong) as http, http.get("/v1/account/balance") as response:
            assert response.status == 401


async def test_polls_use_up_no_other_requests(service: ServiceProcess) -> None:
    async with service.client(new_key(service, plan="free")) as http:
        made = await submit(http, **SDXL)
        job = f"job_{made['generation_id'].replace('-', '')}"
        for path in (f"/v1/image/{made['generation_id']}", f"/api/v1/jobs/{job}", f"/v1/videos/{job}"):
            for _ in range(21):
                async with http.get(path) as response:
                    assert response.status != 429
            assert response.headers["X-RateLimit-Limit"] == "600"
        async with http.get("/v1/account/balance") as response:
            assert response.headers["X-RateLimit-Remaining"] == "18"


async def test_polls_count_as_requests_where_the_plan_says_so(service: ServiceProcess) -> None:
    """PixelDojo's document: 60 requests per minute across all endpoints."""
    async with service.client(new_key(service, plan="pixeldojo")) as http:
        async with http.get("/api/v1/jobs/job_none") as response:
            assert response.headers["X-RateLimit-Remaining"] == "59"
        async with http.get("/v1/account/balance") as response:
            assert response.headers["X-RateLimit-Remaining"] == "58"


async def test_an_idempotency_key_makes_one_generation(offering: ServiceProcess) -> None:
    headers = {"Idempotency-Key": "k1"}
    async with offering.client(new_key(offering)) as http:
        ids = set()
        for _ in range(2):
            async with http.post(GENERATE, json=SDXL, headers=headers) as response:
                ids.add((await response.json())["generation_id"])
        assert len(ids) == 1
        async with http.post(GENERATE, json=SDXL | {"steps": 20}, headers=headers) as response:
            assert (response.status, set(await response.json())) == (409, {"detail"})


BAD: list[tuple[str, bytes | dict[str, Any], str]] = [
    ("not json", b"{", "JSON"),
    ("a list", b"[]", "object"),
    ("no prompt", {"model": "sdxl"}, "Prompt is required"),
    ("prompt of the wrong type", {"prompt": 7}, "`prompt`"),
    ("model of the wrong type", {"model": 7, "prompt": "a"}, "`model`"),
    ("unknown model", {"model": "dall-e-9", "prompt": "a"}, "does not exist; `GET /v1/models` lists all"),
    ("too narrow", {**SDXL, "width": 511}, "`width` must be between 512 and 1536"),
    ("too high", {**SDXL, "height": 1537}, "`height` must be between 512 and 1536"),
    ("width is a text", {**SDXL, "width": "1024"}, "`width`"),
    ("width is true", {**SDXL, "width": True}, "`width`"),
    ("too few steps for SDXL", {**SDXL, "steps": 19}, "`steps` must be between 20 and 50"),
    ("too many steps for SDXL", {**SDXL, "steps": 51}, "`steps` must be between 20 and 50"),
    ("too many steps for FLUX", {"model": "flux-schnell", "prompt": "a", "steps": 9}, "between 1 and 8"),
    ("guidance below zero", {**SDXL, "guidance_scale": -1}, "`guidance_scale`"),
    ("guidance too high", {**SDXL, "guidance_scale": 1000}, "`guidance_scale` must be between"),
    ("guidance is no number", b'{"prompt": "a", "guidance_scale": NaN}', "`guidance_scale`"),
    ("seed below zero", {**SDXL, "seed": -1}, "`seed`"),
    ("seed is a text", {**SDXL, "seed": "1"}, "`seed`"),
    ("nothing to enlarge", {"model": "upscale-4x"}, "`image` is required"),
]


@pytest.mark.parametrize(("name", "body", "reason"), BAD, ids=[bad[0] for bad in BAD])
async def test_rejects_an_invalid_body(
    service: ServiceProcess, key: str, name: str, body: bytes | dict[str, Any], reason: str
) -> None:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with service.client(key) as http, http.post(GENERATE, **sent) as response:
        answer = await response.json()
        assert (response.status, set(answer)) == (422, {"detail"})
        assert reason in answer["detail"]


async def test_rejects_a_form(service: ServiceProcess, key: str) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("prompt", "a cat")
    async with service.client(key) as http, http.post(GENERATE, data=form) as response:
        assert (response.status, set(await response.json())) == (422, {"detail"})


async def test_rejects_wrong_keys_empty_wallets_and_missing_scopes(offering: ServiceProcess) -> None:
    async with offering.client("pk-wrong") as http, http.get("/v1/account/balance") as response:
        assert (response.status, set(await response.json())) == (401, {"detail"})
    async with offering.client() as http, http.post(GENERATE, json=SDXL) as response:
        assert (response.status, set(await response.json())) == (401, {"detail"})
    async with offering.client(new_key(offering, None)) as http, http.post(GENERATE, json=SDXL) as response:
        refused = await response.json()
        assert (response.status, set(refused)) == (402, {"detail"})
        # The document counts in credits, not in dollars.
        assert refused["detail"].startswith("Insufficient credits: this request costs 1, but only 0 are")
        assert "$" not in refused["detail"]
    reader = new_key(offering, scopes=["read"])
    async with offering.client(reader) as http, http.post(GENERATE, json=SDXL) as response:
        assert (response.status, set(await response.json())) == (403, {"detail"})


async def test_reports_unknown_and_other_accounts_generations_alike(
    service: ServiceProcess, key: str
) -> None:
    async with service.client(key) as http:
        made = await submit(http, **SDXL)
    answers = []
    async with service.client(new_key(service)) as stranger:
        for id in (made["generation_id"], "00000000-0000-0000-0000-000000000000", "nonsense"):
            async with stranger.get(f"/v1/image/{id}") as response:
                answers.append((response.status, await response.json()))
    assert answers == [(404, {"detail": "Job not found"})] * 3


async def test_reports_unknown_paths_in_the_apis_format(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        async with http.get("/v1/account/nothing") as response:
            assert (response.status, set(await response.json())) == (404, {"detail"})
        async with http.delete("/v1/account/balance") as response:
            assert (response.status, set(await response.json())) == (405, {"detail"})
        async with http.get("/v1/account/usage?limit=0") as response:
            assert (response.status, set(await response.json())) == (422, {"detail"})


async def test_lists_the_models_of_the_document_under_its_names(service: ServiceProcess, key: str) -> None:
    async with service.client() as http:
        async with http.get("/v1/models") as response:
            listed = {entry["id"]: entry for entry in (await response.json())["data"]}
        async with http.get("/v1/models/sdxl") as response:
            assert (await response.json())["id"] == "sdxl"
    for name, model in (
        ("sdxl", "sdxl-1.0"),
        ("flux-schnell", "flux-1-schnell"),
        ("upscale-4x", "4x-ultrasharp"),
    ):
        assert listed[name]["credits"] == listed[model]["credits"]
    async with service.client(key) as http:
        made = await submit(http, model="sdxl", prompt="a", width=512, height=512)
        assert made["credits_used"] == listed["sdxl"]["credits"]


async def test_errors_have_the_names_that_were_sent(service: ServiceProcess, key: str) -> None:
    cases = (
        ({"guidance_scale": "x"}, "`guidance_scale`"),
        ({"cfg_scale": 99}, "`cfg_scale`"),
        ({"num_inference_steps": 500}, "`num_inference_steps`"),
        ({"stpes": 3}, "Model sdxl has no parameter `stpes`"),
        ({"image_url": "x"}, "`image_url`"),
    )
    async with service.client(key) as http:
        for fields, part in cases:
            async with http.post(GENERATE, json=SDXL | fields) as response:
                detail = (await response.json())["detail"]
                assert response.status == 422
                assert part in detail, detail
                assert "sdxl-1.0" not in detail
