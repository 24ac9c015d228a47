"""The requests of programs that speak OpenAI's API under fixed names of models, as their sources write them.

Each test sends what one program sends, and reads of the answer what that program reads. The operator of the
service has enabled the stand-ins.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.images import png, png_with_hole, size_of
from tests.support.polling import wait_until_sync
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

PNG = "image/png"


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {offering.key('20.00')}"}
    with httpx.Client(base_url=f"{offering.url}/v1", headers=headers, timeout=60) as client:
        yield client


def post(http: httpx.Client, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    response = http.post(path, json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


def post_form(
    http: httpx.Client, path: str, fields: dict[str, str], images: list[tuple[str, bytes]]
) -> dict[str, Any]:
    files = [(name, (f"{number}.png", data, PNG)) for number, (name, data) in enumerate(images)]
    response = http.post(path, data=fields, files=files)
    assert response.status_code == 200, response.text
    return dict(response.json())


def sizes(response: dict[str, Any]) -> list[tuple[int, int]]:
    """The sizes of the images of a response, all of them base64 text."""
    return [size_of(base64.b64decode(item["b64_json"])) for item in response["data"]]


def sizes_of_links(response: dict[str, Any]) -> list[tuple[int, int]]:
    """The sizes of the images of a response, all of them links that need no key."""
    return [size_of(httpx.get(item["url"]).content) for item in response["data"]]


# Open WebUI, engine `openai`: backend/open_webui/routers/images.py.


@pytest.mark.parametrize(
    "model", first_always(["dall-e-2", "flux-1-schnell", "dall-e-3", "qwen-image"], always=2)
)
def test_open_webui_makes_images_as_base64(http: httpx.Client, model: str) -> None:
    made = post(
        http,
        "/images/generations",
        {"model": model, "prompt": "a cat", "n": 2, "size": "512x512", "response_format": "b64_json"},
    )
    assert sizes(made) == [(512, 512)] * 2


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-1.5"])
def test_open_webui_leaves_the_format_of_gpt_image_to_the_service(http: httpx.Client, model: str) -> None:
    fields = {"model": model, "prompt": "a cat", "n": 1}
    assert sizes(post(http, "/images/generations", {**fields, "size": "512x512"})) == [(512, 512)]
    assert len(sizes(post(http, "/images/generations", {**fields, "size": "auto"}))) == 1


def test_open_webui_passes_parameters_of_its_settings_on(http: httpx.Client) -> None:
    own = {"steps": 8, "negative_prompt": "blurry", "seed": 7}
    fields = {"model": "qwen-image", "prompt": "a cat", "n": 1, "size": "512x512", **own}
    made = post(http, "/images/generations?api-version=2025-04-01", fields)
    assert (made["usage"]["steps"], made["usage"]["warnings"]) == (8, [])


@pytest.mark.parametrize("model", ["gpt-image-1", "qwen-image-edit"])
def test_open_webui_edits_one_image_and_several(http: httpx.Client, model: str) -> None:
    fields = {"model": model, "prompt": "a hat"}
    if not model.startswith("gpt-image"):
        fields["response_format"] = "b64_json"
    one, two = png(512, 384), png(384, 384)
    assert sizes(post_form(http, "/images/edits", fields, [("image", one)])) == [(512, 384)]
    several = fields | {"n": "1", "size": "512x512", "background": "auto"}
    edited = post_form(http, "/images/edits", several, [("image[]", one), ("image[]", two)])
    assert sizes(edited) == [(512, 512)]


# LibreChat: api/app/clients/tools/structured/OpenAIImageTools.js and DALLE3.js.


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt-image-1", "flux-2-dev"])
def test_librechat_makes_and_edits_under_one_name(http: httpx.Client, model: str) -> None:
    client = openai.OpenAI(base_url=str(http.base_url), api_key=http.headers["Authorization"][7:])
    with client:
        made = client.images.generate(
            model=model,
            prompt="a cat",
            n=1,
            background="auto",
            output_format="png",
            quality="auto",
            size="auto",
        )
    assert made.data
    image = base64.b64decode(made.data[0].b64_json or "")
    fields = {"model": model, "prompt": "a hat", "quality": "auto", "size": "auto"}
    for images in ([image], [image, png(384, 384)]):
        edited = post_form(http, "/images/edits", fields, [("image[]", each) for each in images])
        # Models that draw a new image make at most one megapixel.
        assert sizes(edited) == [(1024, 1024)]


@pytest.mark.slow
def test_librechats_dalle_tool_gets_a_link(http: httpx.Client) -> None:
    fields = {"model": "dall-e-3", "quality": "standard", "style": "vivid", "prompt": "a cat", "n": 1}
    for size in ((1024, 1024), (1792, 1024), (1024, 1792)):
        made = post(http, "/images/generations", fields | {"size": f"{size[0]}x{size[1]}"})
        assert sizes_of_links(made) == [size]


# n8n, OpenAI node: packages/@n8n/nodes-langchain/nodes/vendors/OpenAi/v2/actions.


def test_n8n_finds_the_names_that_it_can_use(http: httpx.Client) -> None:
    listed = [model["id"] for model in http.get("/models").json()["data"]]
    shown = {id for id in listed if "dall-e" in id or "gpt-image" in id}
    names = {"dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"}
    assert shown >= names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"model": "gpt-image-1-mini", "quality": "medium", "size": "1536x1024"}, (1536, 1024)),
        ({"model": "gpt-image-2", "n": 2, "quality": "high", "size": "1024x1536"}, (1024, 1536)),
        ({"model": "dall-e-2", "response_format": "b64_json", "n": 3, "size": "256x256"}, (256, 256)),
        (
            {"model": "dall-e-3", "response_format": "b64_json", "quality": "hd", "style": "natural"},
            (1024, 1024),
        ),
    ],
)
def test_n8n_makes_images(http: httpx.Client, options: dict[str, Any], size: tuple[int, int]) -> None:
    made = post(http, "/images/generations", {"prompt": "a cat", **options})
    assert sizes(made) == [size] * options.get("n", 1)


def test_n8n_makes_links_for_dall_e(http: httpx.Client) -> None:
    fields = {"prompt": "a cat", "model": "dall-e-3", "response_format": "url", "size": "1024x1792"}
    assert sizes_of_links(post(http, "/images/generations", fields)) == [(1024, 1792)]


@pytest.mark.slow
def test_n8n_edits_images_with_and_without_a_mask(http: httpx.Client) -> None:
    image, mask = ("image[]", png(512, 384)), ("mask", png_with_hole(512, 384))
    fields = {"prompt": "a hat", "model": "gpt-image-1", "n": "2", "size": "1024x1024"}
    options = {"input_fidelity": "high", "output_format": "webp", "output_compression": "85", "user": "u1"}
    edited = post_form(http, "/images/edits", {**fields, **options, "quality": "high"}, [image, image])
    assert sizes(edited) == [(1024, 1024)] * 2
    assert edited["output_format"] == "webp"
    assert edited["usage"]["warnings"] == ["`input_fidelity` has no effect", "`user` has no effect"]
    masked = post_form(http, "/images/edits", fields | {"quality": "auto", "size": "auto"}, [image, mask])
    assert sizes(masked) == [(512, 384)] * 2
    dall_e = {"prompt": "a hat", "model": "dall-e-2", "n": "1", "size": "512x512", "response_format": "url"}
    square = [("image", png(512, 512)), ("mask", png_with_hole(512, 512))]
    assert sizes_of_links(post_form(http, "/images/edits", dall_e, square)) == [(512, 512)]


def test_n8n_makes_a_video_from_an_image(http: httpx.Client) -> None:
    fields = {"model": "sora-2", "prompt": "waves", "seconds": "1", "size": "1280x720"}
    video = post_form(http, "/videos", fields, [("input_reference", png(1280, 720))])

    def is_completed() -> bool:
        found = http.get(f"/videos/{video['id']}").json()
        assert found["error"] is None
        return bool(found["status"] == "completed")

    wait_until_sync(is_completed)
    content = http.get(f"/videos/{video['id']}/content", follow_redirects=True)
    assert content.headers["content-type"] == "video/mp4"
    made = film(content.content)
    assert (made.width, made.height, made.frames / made.fps >= 1) == (1280, 720, True)


# Dify, tool `openai`: tools/openai/tools/gpt_image_*.py of its plugins.


@pytest.mark.slow
def test_dify_makes_and_edits_images(http: httpx.Client, offering: ServiceProcess) -> None:
    client = openai.OpenAI(
        base_url=f"{offering.url}/v1", api_key=http.headers["Authorization"][7:], organization="org-1"
    )
    with client:
        responses = [
            client.images.generate(
                model="gpt-image-1-mini",
                prompt="a cat",
                size="1536x1024",
                quality="low",
                background="opaque",
                output_format="jpeg",
                output_compression=80,
                moderation="low",
                n=2,
            ),
            client.images.edit(
                model="gpt-image-2", prompt="a hat", image=[png(512, 384)] * 3, size="1024x1024", n=1
            ),
            client.images.edit(
                model="gpt-image-1",
                prompt="a hat",
                image=png(512, 384),
                mask=png_with_hole(512, 384),
                quality="medium",
                n=1,
            ),
        ]
    for response, size in zip(responses, [(1536, 1024), (1024, 1024), (512, 384)], strict=True):
        assert response.data
        assert size_of(base64.b64decode(response.data[0].b64_json or "")) == size
        assert response.usage
        assert (response.usage.total_tokens, response.usage.input_tokens_details.image_tokens) == (0, 0)


# InvokeAI: invokeai/app/services/external_generation/providers/openai.py.


@pytest.mark.slow
def test_invokeai_names_the_model(http: httpx.Client) -> None:
    gpt = {"model": "gpt-image-1.5", "prompt": "a cat", "n": 1, "output_format": "png", "quality": "high"}
    assert sizes(post(http, "/images/generations", {**gpt, "size": "1536x1024"})) == [(1536, 1024)]
    dall_e = {"model": "dall-e-3", "prompt": "a cat", "n": 1, "response_format": "b64_json"}
    assert sizes(post(http, "/images/generations", {**dall_e, "size": "1792x1024"})) == [(1792, 1024)]
    form = {"model": "gpt-image-1-mini", "prompt": "a hat", "n": "1", "size": "1024x1024"}
    options = {"output_format": "png", "quality": "low", "input_fidelity": "high"}
    images = [png(512, 512), png(384, 384)]
    for files in ([("image", images[0])], [("image[]", image) for image in images]):
        assert sizes(post_form(http, "/images/edits", form | options, files)) == [(1024, 1024)]


def test_invokeai_may_leave_the_model_to_the_service(http: httpx.Client) -> None:
    fields = {"prompt": "a cat", "n": 2, "size": "1024x1024", "response_format": "b64_json", "seed": 7}
    assert sizes(post(http, "/images/generations", fields)) == [(1024, 1024)] * 2
    form = {"prompt": "a hat", "n": "1", "size": "1024x1024", "response_format": "b64_json"}
    image = png(512, 512)
    for files in ([("image", image)], [("image[]", image), ("image[]", image)]):
        assert sizes(post_form(http, "/images/edits", form, files)) == [(1024, 1024)]


# InvokeAI: .../providers/custom_openai_images.py and fal.py of versions that have them.


@pytest.mark.slow
def test_invokeais_provider_for_other_servers(http: httpx.Client) -> None:
    fields = {"model": "flux-1-schnell", "prompt": "a cat", "n": 1}
    for size in ((1024, 1024), (256, 1024), (1152, 896)):
        made = post(http, "/images/generations", fields | {"size": f"{size[0]}x{size[1]}"})
        assert sizes(made) == [size]
    form = {"model": "qwen-image-edit", "prompt": "a hat", "n": "1", "size": "1024x1024"}
    image = png(512, 512)
    for files in ([("image", image)], [("image[]", image), ("image[]", image)]):
        assert sizes(post_form(http, "/images/edits", form, files)) == [(1024, 1024)]


def test_invokeais_provider_fal_asks_below_the_whole_name(offering: ServiceProcess) -> None:
    """It makes the addresses of a request itself, below the name of the app and not of its owner."""
    headers = {"Authorization": f"Key {offering.key('5.00')}", "Content-Type": "application/json"}
    with httpx.Client(base_url=f"{offering.url}/fal/queue", headers=headers, timeout=60) as queue:
        fields = {"prompt": "a cat", "seed": 7, "num_images": 1, "image_size": "landscape_4_3"}
        id = queue.post("/fal-ai/flux/schnell", json=fields).json()["request_id"]

        def status() -> str:
            return str(queue.get(f"/fal-ai/flux/schnell/requests/{id}/status").json()["status"])

        wait_until_sync(lambda: status() == "COMPLETED")
        result = queue.get(f"/fal-ai/flux/schnell/requests/{id}").json()
    assert result["seed"] == 7
    assert [size_of(httpx.get(each["url"]).content) for each in result["images"]] == [(1024, 768)]


def test_links_do_not_mind_the_key_of_the_service(http: httpx.Client) -> None:
    """Open WebUI and InvokeAI send it to wherever a link leads."""
    made = post(http, "/images/generations", {"model": "dall-e-3", "prompt": "a cat", "size": "1024x1024"})
    headers = {"Authorization": http.headers["Authorization"]}
    linked = httpx.get(made["data"][0]["url"], headers=headers)
    assert (linked.status_code, linked.headers["content-type"]) == (200, PNG)


def test_errors_name_what_no_stand_in_can_do(http: httpx.Client) -> None:
    fields = {"model": "gpt-image-1", "prompt": "a cat", "background": "transparent"}
    refused = http.post("/images/generations", content=json.dumps(fields))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (
        400,
        "unsupported_background",
        "background",
    )
