"""Models that the operator lets stand in for proprietary ones, asked for in the words of several dialects."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.integration.test_dashboard import API, ask, browser, sign_in
from tests.support.callers import new_key
from tests.support.images import base64_png, png, png_with_hole, size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess, pixelfactory

#: The SDK warns that OpenAI itself gives these operations up.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:openai", "ignore:deprecated", "ignore:The Sora API"
)

PICTURE = f"data:image/png;base64,{base64_png(64, 64)}"
STAND_INS = {"dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-2", "sora-2", "flux-2-pro"}


@pytest.fixture(scope="module")
def offering_key(offering: ServiceProcess) -> str:
    return offering.key("20.00")


@pytest.fixture
def client(offering: ServiceProcess, offering_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{offering.url}/v1", api_key=offering_key, max_retries=0) as client:
        yield client


def served_by(offering: ServiceProcess, key: str, job_id: str) -> str:
    """Return the id of the model that ran a job, which the parameters of the job's model show."""
    path = f"{offering.url}/admin/v1/jobs/{job_id}"
    job = httpx.get(path, headers={"Authorization": f"Bearer {offering.admin_token}"}).json()
    return str(job.get("model"))


def test_answers_show_the_name_that_was_asked_for(
    offering: ServiceProcess, service: ServiceProcess, client: openai.OpenAI, key: str
) -> None:
    made = client.images.generate(model="dall-e-3", prompt="a cat", size="512x512")
    assert made.usage is not None
    assert made.usage.model_dump()["model"] == "dall-e-3"
    assert client.videos.create(model="sora-2", prompt="waves").model == "sora-2"
    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as without,
        pytest.raises(openai.BadRequestError) as refused,
    ):
        without.images.generate(model="dall-e-3", prompt="a cat")
    assert refused.value.code == "model_not_found"


@pytest.mark.slow
def test_one_name_generates_edits_fills_and_varies(client: openai.OpenAI) -> None:
    image, mask = png(256, 256), png_with_hole(256, 256)
    made = [
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024", quality="low"),
        client.images.edit(model="gpt-image-1", prompt="a hat", image=image),
        client.images.edit(model="gpt-image-1", prompt="a hat", image=[image, png(128, 128)]),
        client.images.edit(model="gpt-image-1", prompt="a hat", image=image, mask=mask),
        client.images.edit(model="gpt-image-1", prompt="a hat", image=[image, png(64, 64)], mask=mask),
        client.images.create_variation(model="gpt-image-1", image=image),
    ]
    for response in made:
        assert response.data
        assert size_of(base64.b64decode(response.data[0].b64_json or ""))
        assert response.usage.model == "gpt-image-1"


@pytest.mark.slow
def test_one_name_makes_videos_with_and_without_an_image(client: openai.OpenAI) -> None:
    body: dict[str, Any] = {"model": "sora-2", "prompt": "waves", "size": "1280x720", "seconds": "1"}
    for extra in ({}, {"input_reference": png(1280, 720)}):
        video = client.videos.create_and_poll(**(body | extra))
        assert (video.status, video.model, video.size) == ("completed", "sora-2", "1280x720")
        remix = client.videos.remix(video.id, prompt="storm")
        assert (remix.model, remix.remixed_from_video_id) == ("sora-2", video.id)


def test_errors_and_warnings_name_the_model_that_was_asked_for(
    offering: ServiceProcess, offering_key: str
) -> None:
    headers = {"Authorization": f"Bearer {offering_key}"}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("/v1/images/generations", {"model": "gpt-image-1", "foo": 1}, "Model gpt-image-1 has no parameter"),
        ("/v1/images/generations", {"model": "gpt-image-1", "loras": ["none"]}, "gpt-image-1"),
        ("/v1/image/generate", {"model": "gpt-image-1", "foo": 1}, "Model gpt-image-1 has no parameter"),
        ("/api/v1/models/flux-1.1-pro/run", {"stpes": 4}, "Model flux-1.1-pro has no parameter"),
        ("/flux-dev/v1/dev/textToImage", {"resolution": "16K"}, "a size that flux-dev supports"),
        ("/flux-dev/v1/dev/textToImage", {"seed": 1, "mask": "a"}, "mask is not a parameter"),
        ("/flux-dev/v1/dev/imageToImage", {"image": PICTURE, "resolution": "16K"}, "that flux-dev supports"),
    ]
    with httpx.Client(base_url=offering.url, headers=headers) as http:
        for path, fields, part in cases:
            refused = http.post(path, json={"prompt": "a cat", **fields})
            assert refused.status_code in {400, 422}, refused.text
            assert part in refused.text
            assert "qwen-image" not in refused.text
            assert "flux-1-dev" not in refused.text
        written = http.post("/flux-dev/v1/dev/textToImage", json={"prompt": "a", "negative_prompt": "b"})
        assert "flux-1-dev" not in written.headers.get("X-PixelFactory-Warnings", ""), written.headers
        removed = http.delete("/v1/models/gpt-image-1")
        assert "Model gpt-image-1 cannot be deleted" in removed.text
        enlarged = {
            "model": "upscale-4x",
            "image": base64_png(64, 48),
            "negative_prompt": "no",
        }
        accepted = http.post("/v1/image/generate", json=enlarged)
        assert accepted.status_code == 200, accepted.text
        warning = "`negative_prompt` has no effect: upscale-4x cannot use one"
        assert warning in accepted.headers.get("X-PixelFactory-Warnings", ""), accepted.text


def test_quotes_and_makes_the_size_and_length_of_a_name(offering: ServiceProcess, offering_key: str) -> None:
    headers = {"Authorization": f"Bearer {offering_key}"}
    plain = {"model": "sora-2", "prompt": "waves"}
    full = {**plain, "seconds": "4", "size": "720x1280"}
    with httpx.Client(base_url=offering.url, headers=headers) as http:
        prices = [http.post("/api/v1/quote", json=body).json()["cost_usd"] for body in (plain, full)]
        assert prices[0] == prices[1]
        made = http.post("/api/v1/models/sora-2/run", json={"prompt": "waves"}).json()
        params = http.get(f"/api/v1/jobs/{made['jobId']}").json()["params"]
        assert (params["width"], params["height"], params["num_frames"]) == (720, 1280, 96)
        http.delete(f"/api/v1/jobs/{made['jobId']}")


async def test_the_playground_chooses_the_model_of_a_name_by_the_image(
    offering: ServiceProcess, offering_key: str
) -> None:
    quotes = [
        ({"prompt": "waves"}, {"prompt": "waves", "width": 720, "height": 1280, "num_frames": 96}),
        (
            {"prompt": "waves", "image": base64_png(640, 640)},
            {"prompt": "waves", "image": base64_png(640, 640), "num_frames": 96},
        ),
    ]
    async with browser(offering) as http:
        await sign_in(http, offering_key)
        for plain, full in quotes:
            short, long = [
                await ask(http, "POST", f"{API}/quote", json={"model": "sora-2", "params": params})
                for params in (plain, full)
            ]
            assert (short[0], short) == (200, long)


VIDEO_BODIES: list[dict[str, Any]] = [
    {"model": "sora-2", "seconds": "8", "size": "720x1280"},
    {"model": "sora-2", "duration": 2, "size": "1280x720"},
    {"model": "wan2.1-t2v-fast", "seconds": 2.125, "fps": 8},
    {"seconds": "1", "size": "320x256", "fps": 8},
]


@pytest.mark.parametrize("fields", first_always(VIDEO_BODIES))
def test_quotes_the_price_of_a_body_of_a_video(
    offering: ServiceProcess, offering_key: str, fields: dict[str, Any]
) -> None:
    body = {"prompt": "waves", **fields}
    headers = {"Authorization": f"Bearer {offering_key}"}
    with httpx.Client(base_url=offering.url, headers=headers) as http:
        quote = http.post("/api/v1/quote", json=body)
        assert quote.status_code == 200, quote.text
        made = http.post("/v1/videos", json=body).json()
        entries = http.get("/api/v1/billing/ledger").json()["entries"]
        http.delete(f"/v1/videos/{made['id']}")
    held = [one["moved_usd"] for one in entries if (one["kind"], one["job_id"]) == ("hold", made["id"])]
    asked = fields.get("model", quote.json()["model"])
    assert (quote.json()["model"], [quote.json()["cost_usd"]]) == (asked, held)


def test_quotes_of_images_refuse_the_length_of_a_video(offering: ServiceProcess, offering_key: str) -> None:
    headers = {"Authorization": f"Bearer {offering_key}"}
    body = {"model": "dall-e-3", "prompt": "a", "seconds": "8"}
    refused = httpx.post(f"{offering.url}/api/v1/quote", json=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unknown_parameter")


def test_refuses_what_a_name_does_not_do(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="it serves: video, image_video") as refused:
        client.images.edit(model="sora-2", prompt="a", image=png(64, 64), mask=png_with_hole(64, 64))
    assert refused.value.code == "unsupported_model"
    with pytest.raises(openai.BadRequestError, match="it serves: generate, edit, mask, variation"):
        client.videos.create(model="gpt-image-1", prompt="waves")


def test_dall_e_names_respond_with_urls_by_default(client: openai.OpenAI) -> None:
    by_default = client.images.generate(model="dall-e-2", prompt="a cat", size="256x256")
    assert by_default.data
    assert by_default.data[0].url
    assert httpx.get(by_default.data[0].url).headers["content-type"] == "image/png"
    asked = client.images.generate(
        model="dall-e-2", prompt="a cat", size="256x256", response_format="b64_json"
    )
    assert asked.data
    assert (asked.data[0].url, bool(asked.data[0].b64_json)) == (None, True)
    varied = client.images.create_variation(model="dall-e-2", image=png(256, 256))
    assert varied.data
    assert varied.data[0].url
    events = client.images.generate(model="dall-e-3", prompt="a cat", size="256x256", stream=True)
    assert [event.type for event in events] == ["image_generation.completed"]


@pytest.mark.parametrize(("name", "credits"), [("flux-2-pro", 1.5), ("flux-2-max", 2)])
async def test_pixeldojo_names_have_their_documented_prices(
    offering: ServiceProcess, name: str, credits: float
) -> None:
    async with offering.client(new_key(offering)) as http:
        async with http.get(f"/api/v1/models/{name}") as response:
            shown = await response.json()
        assert (shown["creditCost"]["default"], shown["apiId"], shown["id"]) == (credits, name, name)
        async with http.post(f"/api/v1/models/{name}/run", json={"prompt": "a"}) as response:
            made = await response.json()
        assert (response.status, made["creditCost"]) == (200, credits)
        async with http.get(f"/api/v1/jobs/{made['jobId']}") as response:
            assert (await response.json())["model"] == name
        async with http.get(f"/api/v1/jobs?model={name}") as response:
            assert made["jobId"] in [job["jobId"] for job in (await response.json())["jobs"]]


async def test_every_list_of_models_has_them(offering: ServiceProcess, service: ServiceProcess) -> None:
    for path in ("/v1/models", "/api/v1/models", "/api/v1/images/models"):
        listed = await _listed(offering, path)
        assert listed.keys() >= STAND_INS
        assert not (await _listed(service, path)).keys() & STAND_INS
        assert listed["gpt-image-1"]["served_by"]["edit"]["model"] == "qwen-image-edit"
        assert listed["flux-2-pro"]["served_by"] == {
            "model": {
                "model": "flux-2-dev",
                "price_per_image_cents": listed["flux-2-dev"]["price_per_image_cents"],
            }
        }
        assert "served_by" not in listed["flux-2-dev"]
    async with offering.client() as anybody, anybody.get("/llms.txt") as response:
        text = await response.text()
    assert "- `gpt-image-1`: `qwen-image` (generate), `qwen-image-edit` (edit)" in text
    assert "- `flux-2-pro`: `flux-2-dev`\n" in text


async def _listed(service: ServiceProcess, path: str) -> dict[str, dict[str, Any]]:
    async with service.client() as anybody, anybody.get(path) as response:
        return {model["id"]: model for model in (await response.json())["data"]}


def test_sdks_retrieve_them(client: openai.OpenAI) -> None:
    assert client.models.retrieve("gpt-image-1").id == "gpt-image-1"
    assert {model.id for model in client.models.list()} >= STAND_INS


async def test_operators_see_them(offering: ServiceProcess) -> None:
    async with offering.client(offering.admin_token) as http, http.get("/admin/v1/models") as response:
        models = {model["id"]: model["stands_in_for"] for model in (await response.json())["models"]}
    assert models["ltx2.3-t2v"] == ["sora-2"]
    assert models["ltx2.3-i2v"] == ["sora-2"]
    assert models["sd-1.5"] == []


def test_a_key_for_a_name_may_use_all_models_that_serve_it(offering: ServiceProcess) -> None:
    headers = {"Authorization": f"Bearer {offering.admin_token}"}
    body = {"models": ["gpt-image-1"], "credit_usd": 1}
    made = httpx.post(f"{offering.url}/admin/v1/keys", json=body, headers=headers).json()
    with openai.OpenAI(base_url=f"{offering.url}/v1", api_key=made["key"], max_retries=0) as client:
        client.images.edit(model="gpt-image-1", prompt="a hat", image=png(256, 256))
        with pytest.raises(openai.PermissionDeniedError):
            client.images.generate(model="sdxl-1.0", prompt="a cat")


def test_an_invalid_table_is_reported_at_the_start(tmp_path: Path) -> None:
    table = tmp_path / "mine.toml"
    table.write_text('"sora-2" = { model = "nobody", enabled = true }\n')
    up = ("up", "--simulate", "1", "--port", "0", "--data-dir", str(tmp_path / "data"))
    done = pixelfactory(*up, check=False, PIXELFACTORY_STAND_INS_FILE=str(table))
    assert done.returncode == 1
    assert "the catalog has no model 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr
