"""Replicate's predictions API: by its official Python client, and to the letter."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from orchestrator.web.dialects.replicate import schemas as answers
from orchestrator.web.dialects.replicate.translation import parse_prediction_id
from tests.support.callers import new_key, set_back
from tests.support.images import png, png_white_in_the_middle, size_of
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess
from tests.support.videos import film
from tests.support.webhook_receiver import receiving

SCHNELL = "black-forest-labs/flux-schnell"
SMALL = {"prompt": "a cat", "width": 256, "height": 256}


@contextmanager
def calling(offering: ServiceProcess, credit: str = "5.00") -> Iterator[Client]:
    """The official client with a key of its own; it has no way to close its connections."""
    client = Client(api_token=new_key(offering, credit), base_url=offering.url)
    try:
        yield client
    finally:
        client._client.close()


@pytest.fixture(scope="module")
def client(offering: ServiceProcess) -> Iterator[Client]:
    with calling(offering, "50.00") as made:
        yield made


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {new_key(offering, '20.00')}"}
    with httpx.Client(base_url=offering.url, headers=headers, timeout=60) as client:
        yield client


def predict(http: httpx.Client, name: str = SCHNELL, **headers: str) -> dict[str, Any]:
    response = http.post(f"/v1/models/{name}/predictions", json={"input": SMALL}, headers=headers)
    assert response.status_code == 201, response.text
    body = dict(response.json())
    answers.Prediction.model_validate(body, strict=True)
    return body


def finished(http: httpx.Client, id: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        return dict(http.get(f"/v1/predictions/{id}").json())

    wait_until_sync(lambda: read()["completed_at"] is not None)
    return read()


def test_run_waits_and_names_the_images(client: Client) -> None:
    urls: Any = client.run(
        SCHNELL, input={**SMALL, "num_outputs": 2, "output_format": "jpg", "output_quality": 80}
    )
    assert [size_of(httpx.get(str(url)).content) for url in urls] == [(256, 256)] * 2
    assert httpx.get(str(urls[0])).headers["content-type"] == "image/jpeg"


def test_run_by_version_and_by_a_stand_in(client: Client) -> None:
    version = client.models.get(SCHNELL).latest_version
    assert version is not None
    assert "prompt" in version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    (url,) = client.run(f"{SCHNELL}:{version.id}", input=SMALL)
    assert size_of(httpx.get(str(url)).content) == (256, 256)
    made = client.predictions.create(version=version.id, input=SMALL)
    assert (made.version, made.model) == (version.id, SCHNELL)
    made.cancel()
    stood_in = client.predictions.create(model="openai/gpt-image-1", input={"prompt": "a cat"})
    assert stood_in.model == "openai/gpt-image-1"
    stood_in.cancel()


def test_lists_models_as_replicates_clients_read_them(client: Client, http: httpx.Client) -> None:
    page = client.models.list()
    listed = {f"{model.owner}/{model.name}": model.description for model in page}
    assert listed["black-forest-labs/flux-1-schnell"]
    assert page.next is None
    assert all(client.models.get(name).url.endswith(name) for name in list(listed)[:3])
    assert http.get("/v1/models").json()["object"] == "list", "other clients get OpenAI's list"


def test_schemas_of_versions_say_what_a_prediction_takes_and_gives(client: Client) -> None:
    schemas = {}
    for name in ("flux-1-schnell", "wan2.1-t2v-fast"):
        version = client.models.get(f"pixel-factory/{name}").latest_version
        assert version is not None
        schemas[name] = version.openapi_schema["components"]["schemas"]
        assert "webhook_url" not in schemas[name]["Input"]["properties"]
    image, video = schemas.values()
    assert (image["Output"]["type"], video["Output"]["type"]) == ("array", "string")
    assert {"num_outputs", "output_format", "output_quality"} <= image["Input"]["properties"].keys()
    assert "output_format" not in video["Input"]["properties"]


def test_create_get_list_and_cancel(client: Client, offering: ServiceProcess) -> None:
    with calling(offering) as own:
        check_own_predictions(own, client)


def check_own_predictions(own: Client, client: Client) -> None:
    made = own.predictions.create(model=SCHNELL, input={**SMALL, "seed": 7})
    assert made.status in ("starting", "processing", "succeeded")
    assert made.input == {**SMALL, "seed": 7}
    made.wait()
    assert made.status == "succeeded"
    assert "Using seed: 7" in (made.logs or "")
    assert made.progress
    assert made.progress.percentage == 1.0
    assert made.metrics
    assert made.metrics["predict_time"] >= 0
    others = [own.predictions.create(model="pixel-factory/sdxl-1.0", input=SMALL) for _ in range(2)]
    page = own.predictions.list()
    assert [each.id for each in page] == [*(each.id for each in reversed(others)), made.id]
    assert page.next is None
    with pytest.raises(ReplicateError) as raised:
        client.predictions.get(made.id)
    assert (raised.value.status, raised.value.title) == (404, "Not Found")


@pytest.mark.slow
def test_pages_follow_the_cursor(http: httpx.Client, offering: ServiceProcess) -> None:
    key = new_key(offering)
    headers = {"Authorization": f"Bearer {key}"}
    body = {"input": {**SMALL, "num_outputs": 1}}
    with httpx.Client(base_url=offering.url, headers=headers, timeout=60) as own:
        made = [own.post(f"/v1/models/{SCHNELL}/predictions", json=body).json()["id"] for _ in range(102)]
        first = own.get("/v1/predictions").json()
        rest = own.get(first["next"]).json()
        answers.PredictionPage.model_validate(rest, strict=True)
        listed = [each["id"] for each in (*first["results"], *rest["results"])]
        assert (listed, rest["next"]) == (made[::-1], None)
        assert own.get("/v1/predictions?created_after=2020").status_code == 422


def test_a_file_is_uploaded_and_used(client: Client, http: httpx.Client) -> None:
    file = io.BytesIO(png(64, 48))
    file.name = "cat.png"
    output: Any = client.run("pixel-factory/4x-ultrasharp", input={"image": file})
    assert size_of(httpx.get(str(output[0])).content) == (256, 192)
    listed = client.files.list()
    assert [(each.name, each.content_type, each.size) for each in listed] == [
        ("cat.png", "image/png", len(png(64, 48)))
    ]
    assert client.files.get(listed[0].id).checksums == listed[0].checksums
    shown = client.predictions.create(
        "pixel-factory/4x-ultrasharp", input={"image": listed[0].urls["get"]}, wait=True
    )
    assert shown.input == {"image": listed[0].urls["get"]}, "the input is shown as it was sent"
    foreign = http.post(
        "/v1/models/pixel-factory/4x-ultrasharp/predictions", json={"input": {"image": listed[0].urls["get"]}}
    )
    assert foreign.status_code == 422
    (error,) = foreign.json()["invalid_fields"]
    assert error["field"] == "input.image"
    assert listed[0].id in error["description"]
    assert "upload it by POST /v1/files" in error["description"]
    assert http.get(f"/v1/files/{listed[0].id}").status_code == 404
    assert client.files.delete(listed[0].id)
    assert client.files.list() == []


def test_what_is_white_in_a_mask_is_redrawn(client: Client) -> None:
    fields = {"prompt": "a hat", "image": io.BytesIO(png()), "mask": io.BytesIO(png_white_in_the_middle())}
    output: Any = client.run("black-forest-labs/flux-fill-dev", input=fields)
    with Image.open(io.BytesIO(httpx.get(str(output[0])).content)) as filled:
        pixels = [filled.convert("RGB").getpixel(place) for place in ((2, 2), (20, 20))]
    assert pixels[0] == (200, 30, 30)
    assert pixels[1] != (200, 30, 30)


def test_a_video_is_one_url(client: Client) -> None:
    fields = {"prompt": "waves", "size": "256x256", "num_frames": 9}
    url = client.run("wan-ai/wan2.1-t2v-fast", input=fields)
    assert film(httpx.get(str(url)).content).frames == 9


def test_streams_what_happens(client: Client) -> None:
    events = list(client.stream(SCHNELL, input=SMALL))
    kinds = [event.event.value for event in events]
    assert kinds[-1] == "done"
    assert kinds.count("output") == 1
    (url,) = [event.data for event in events if event.event.value == "output"]
    assert size_of(httpx.get(str(url)).content) == (256, 256)
    assert any("Using seed" in event.data for event in events if event.event.value == "logs")


def test_a_stream_goes_on_after_the_last_event_that_the_client_has(client: Client) -> None:
    prediction = client.predictions.create(model=SCHNELL, input={**SMALL, "num_outputs": 2}, stream=True)
    url = (prediction.urls or {})["stream"]
    prediction.wait()

    def read(**headers: str) -> list[tuple[str, str]]:
        text = httpx.get(url, headers={"Accept": "text/event-stream", **headers}).text
        events = [
            dict(line.split(": ", 1) for line in each.splitlines()) for each in text.split("\n\n") if each
        ]
        return [(event["event"], event["id"]) for event in events if "event" in event]

    all_events = read()
    outputs = [id for kind, id in all_events if kind == "output"]
    assert len(outputs) == 2
    again = read(**{"Last-Event-ID": outputs[0]})
    assert [kind for kind, _ in again if kind != "logs"] == ["output", "done"]
    assert int(again[0][1].partition(":")[0]) == int(outputs[0].partition(":")[0]) + 1
    assert "output" not in [kind for kind, _ in read(**{"Last-Event-ID": outputs[1]})]
    assert read(**{"Last-Event-ID": "nonsense"}) == all_events


def test_a_blocked_prompt_is_a_failed_prediction(client: Client) -> None:
    with pytest.raises(ModelError, match="content policy"):
        client.run(SCHNELL, input={"prompt": "An OGRE at dusk"})


def test_an_elapsed_wait_is_starting_and_a_cancelled_prediction_stays_so(
    paced: ServiceProcess, paced_key: str
) -> None:
    slow = {"prompt": "a cat", "num_inference_steps": 100, "size": "2048x2048", "num_outputs": 4}
    headers = {"Authorization": f"Bearer {paced_key}", "Prefer": "wait=1"}
    with httpx.Client(base_url=paced.url, headers=headers, timeout=60) as own:
        response = own.post("/v1/models/stability-ai/sdxl/predictions", json={"input": slow})
        body = response.json()
        assert (response.status_code, body["status"], body["output"]) == (202, "starting", None)
        assert response.headers["Preference-Applied"] == "wait=1"
        for _ in range(2):
            cancelled = own.post(f"/v1/predictions/{body['id']}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
            assert cancelled.json()["completed_at"]


def test_cancel_after_ends_a_prediction(paced: ServiceProcess, paced_key: str) -> None:
    headers = {"Authorization": f"Bearer {paced_key}"}
    slow = {"input": {"prompt": "a cat", "num_inference_steps": 100, "size": "2048x2048", "num_outputs": 4}}
    with httpx.Client(base_url=paced.url, headers=headers, timeout=60) as own:
        path = "/v1/models/stability-ai/sdxl/predictions"
        made = own.post(path, json=slow, headers={"Cancel-After": "5s"}).json()
        ended = finished(own, made["id"])
        assert (ended["status"], ended["error"], ended["output"]) == ("canceled", None, None)
        refused = own.post(path, json=slow, headers={"Cancel-After": "1s"})
        assert (refused.status_code, refused.json()["invalid_fields"][0]["field"]) == (422, "Cancel-After")


async def test_webhooks_are_sent_for_the_events_of_the_filter(offering: ServiceProcess) -> None:
    with calling(offering) as own:
        secret = own.webhooks.default.secret()
        await check_webhooks(own, secret)
        await own._async_client.aclose()


async def download(url: str) -> bytes:
    async with httpx.AsyncClient() as anybody:
        return (await anybody.get(url)).content


async def check_webhooks(own: Client, secret: Any) -> None:
    async with receiving() as receiver:
        asked: dict[str, Any] = {"webhook": receiver.url}
        made = await own.predictions.async_create(model=SCHNELL, input=SMALL, **asked)
        got = [await receiver.next() for _ in range(3)]
        bodies = [delivery.checked(secret.key) for delivery in got]
        assert {body["id"] for body in bodies} == {made.id}
        assert sorted(body["status"] for body in bodies) == ["processing", "processing", "succeeded"]
        for delivery in got:
            headers = {name.lower(): value for name, value in delivery.headers.items()}
            own.webhooks.validate(headers=headers, body=delivery.body.decode(), secret=secret)
        final = next(body for body in bodies if body["status"] == "succeeded")
        answers.Prediction.model_validate(final, strict=True)
        assert size_of(await download(final["output"][0])) == (256, 256)
        only = {**asked, "webhook_events_filter": ["completed"]}
        second = await own.predictions.async_create(model=SCHNELL, input=SMALL, **only)
        body = (await receiver.next()).checked(secret.key)
        assert (body["id"], body["status"]) == (second.id, "succeeded")
        third = await own.predictions.async_create(
            model=SCHNELL, input=SMALL, webhook=receiver.url, webhook_events_filter=["start", "logs"]
        )
        body = (await receiver.next()).checked(secret.key)
        assert (body["id"], body["status"], body["output"]) == (third.id, "processing", None)
        await third.async_wait()
        assert receiver.deliveries.empty()


def test_an_expired_prediction_is_gone(http: httpx.Client, offering: ServiceProcess) -> None:
    id = predict(http, Prefer="wait")["id"]
    set_back(offering, parse_prediction_id(id), timedelta(days=40))
    response = http.get(f"/v1/predictions/{id}")
    assert (response.status_code, response.json()["code"]) == (410, "expired")
    answers_error(response)


def answers_error(response: httpx.Response) -> dict[str, Any]:
    """The problem details of an error."""
    body = dict(response.json())
    assert body["status"] == response.status_code
    assert {"title", "detail", "code"} <= body.keys()
    return body


def test_the_same_idempotency_key_is_the_same_prediction(http: httpx.Client) -> None:
    first = predict(http, **{"Idempotency-Key": "once"})
    again = predict(http, **{"Idempotency-Key": "once"})
    assert first["id"] == again["id"]
    other = http.post(
        f"/v1/models/{SCHNELL}/predictions",
        json={"input": {"prompt": "a dog"}},
        headers={"Idempotency-Key": "once"},
    )
    assert answers_error(other)["status"] == 409


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        (f"models/{SCHNELL}", {"input": {}}, 422, "input.prompt"),
        (f"models/{SCHNELL}", {}, 422, "input"),
        (f"models/{SCHNELL}", {"input": []}, 422, "input"),
        (f"models/{SCHNELL}", {"input": {"prompt": 7}}, 422, "input.prompt"),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "hocus": 1}}, 422, "input.hocus"),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "num_outputs": 11}}, 422, "input.num_outputs"),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "num_inference_steps": 1000}}, 422, None),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "megapixels": "9"}}, 422, "input.megapixels"),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "output_format": "bmp"}}, 422, "input.output_format"),
        (f"models/{SCHNELL}", {"input": {"prompt": "a", "webhook_url": "https://x.example"}}, 422, None),
        (f"models/{SCHNELL}", {"input": {"prompt": "a"}, "hocus": 1}, 422, None),
        (f"models/{SCHNELL}", {"input": {"prompt": "a"}, "webhook": "ftp://x"}, 422, "webhook"),
        (
            f"models/{SCHNELL}",
            {"input": {"prompt": "a"}, "webhook_events_filter": ["begin"]},
            422,
            "webhook_events_filter",
        ),
        ("models/pixel-factory/4x-ultrasharp", {"input": {"image": "!!!"}}, 422, "input.image"),
        ("models/pixel-factory/4x-ultrasharp", {"input": {"image": "aGVsbG8="}}, 422, "input.image"),
        ("models/unknown/no-such-model", {"input": {"prompt": "a"}}, 404, None),
        ("models/other/flux-schnell", {"input": {"prompt": "a"}}, 404, None),
        ("", {"input": {"prompt": "a"}, "version": "f" * 64}, 422, "version"),
        ("", {"input": {"prompt": "a"}}, 422, "version"),
    ],
)
def test_refuses_what_is_wrong(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    response = http.post(f"/v1/{path}/predictions".replace("//", "/"), json=body)
    error = answers_error(response)
    assert (response.status_code, error["status"]) == (status, status), error
    if field is not None:
        assert [each["field"] for each in error["invalid_fields"]] == [field]


def test_lists_only_parameters_that_an_input_takes(http: httpx.Client) -> None:
    response = http.post(f"/v1/models/{SCHNELL}/predictions", json={"input": {"prompt": "a", "hocus": 1}})
    detail = response.json()["detail"]
    assert "Its parameters are: n, prompt" in detail
    assert "webhook_url" not in detail


def test_refuses_who_may_not(offering: ServiceProcess) -> None:
    poor = new_key(offering, None)
    path, body = f"/v1/models/{SCHNELL}/predictions", {"input": SMALL}
    with httpx.Client(base_url=offering.url, timeout=60) as anybody:
        no_key = anybody.post(path, json=body)
        assert (no_key.status_code, answers_error(no_key)["title"]) == (401, "Unauthenticated")
        wrong = anybody.post(path, json=body, headers={"Authorization": "Bearer pk-wrong"})
        assert answers_error(wrong)["status"] == 401
        broke = anybody.post(path, json=body, headers={"Authorization": f"Bearer {poor}"})
        assert (broke.status_code, answers_error(broke)["title"]) == (402, "Insufficient credit")
        for wait in ("wait=0", "wait=61", "wait=x"):
            refused = anybody.post(
                path, json=body, headers={"Authorization": f"Bearer {poor}", "Prefer": wait}
            )
            assert answers_error(refused)["invalid_fields"][0]["field"] == "Prefer"
        forged = anybody.get("/v1/files/stream/aaaaaaaaaaaaaaaaaaaaaaaaaa/00")
        assert answers_error(forged)["status"] == 404
