"""The same mistakes in every dialect: each has its own status and shape for them, and charges nothing.

What a single dialect rejects besides is tested with the dialect.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.replicate.translation import parse_prediction_id
from tests.support.callers import new_key, set_back
from tests.support.images import base64_png
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess

SCOPES = ["graphs", "read", "generate", "billing"]
NO_IMAGE = b64encode(b"hello there, this is no picture").decode("ascii")
PICTURE = base64_png(64, 64)
Body = dict[str, Any]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def fal_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Key {key}"}


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"any:{key}".encode()).decode("ascii")}


# The shapes of errors


def openai_shape(body: Body) -> None:
    assert {"message", "type", "code", "param"} <= body["error"].keys()


def pixelapi_shape(body: Body) -> None:
    assert isinstance(body["detail"], str | list), body


def pixeldojo_shape(body: Body) -> None:
    assert isinstance(body["error"], str | dict), body


def pixazo_shape(body: Body) -> None:
    assert isinstance(body["error"], str | dict), body


def problem_shape(body: Body) -> None:
    assert {"title", "detail", "status", "code"} <= body.keys()


def detail_shape(body: Body) -> None:
    assert isinstance(body["detail"], str | list), body
    if isinstance(body["detail"], list):
        assert all({"loc", "msg", "type"} <= each.keys() for each in body["detail"])


def a1111_shape(body: Body) -> None:
    assert {"error", "detail", "body", "errors"} <= body.keys()


def huggingface_shape(body: Body) -> None:
    assert isinstance(body["error"], str)


def v2_shape(body: Body) -> None:
    assert set(body["error"]) == {"code", "message", "details"}


def comfyui_shape(body: Body) -> None:
    assert {"type", "message", "details", "extra_info"} == set(body["error"])
    assert isinstance(body["node_errors"], dict)


def router_shape(body: Body) -> None:
    assert isinstance(body["detail"], str | list)
    assert isinstance(body["error_type"], str)


def drawn(**inputs: Any) -> Body:
    source = {"width": 64, "height": 64, "batch_size": 1, "color": 7}
    return {
        "1": {"class_type": "EmptyImage", "inputs": source | inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


def loading(name: str) -> Body:
    return drawn() | {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
    }


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request of a dialect, and the status of its answer."""

    path: str
    body: Body
    status: int


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a dialect asks, and what it answers to mistakes."""

    name: str
    path: str
    good: Body
    shape: Callable[[Body], None]
    #: Statuses: a wrong key, no money.
    wrong_key: int = 401
    no_money: int = 402
    #: Mistakes by what they are.
    mistakes: Mapping[str, Asked] = field(default_factory=dict)
    auth: Callable[[str], dict[str, str]] = bearer

    def __str__(self) -> str:
        return self.name


def changed(path: str, good: Body, status: int, **fields: Any) -> Asked:
    return Asked(path=path, body=good | fields, status=status)


IMAGE: Body = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}
EDIT = {"model": "4x-ultrasharp", "prompt": "", "image": NO_IMAGE}
OPENAI, OWN = "/v1/images/generations", "/api/v1/images/generations"
PIXELAPI, PIXELDOJO = "/v1/image/generate", "/api/v1/models/flux-1-schnell/run"
PIXELAPI_BODY: Body = {"model": "sdxl-1.0", "prompt": "a cat", "width": 512, "height": 512}
PIXELDOJO_BODY: Body = {"prompt": "a cat"}
PIXAZO, PIXAZO_BODY = "/flux-dev/v1/dev/textToImage", {"prompt": "a cat"}
REPLICATE = "/v1/models/black-forest-labs/flux-schnell/predictions"
SMALL = {"prompt": "a cat", "width": 256, "height": 256}
FAL, FAL_BODY = "/fal/queue/fal-ai/flux/schnell", {"prompt": "a cat"}
A1111, A1111_BODY = "/sdapi/v1/txt2img", {"prompt": "a cat", "width": 256, "height": 256}
HF, HF_BODY = "/hf/black-forest-labs/FLUX.1-schnell", {"inputs": "a cat"}
ROUTER, ROUTER_BODY = "/v2/models/black-forest-labs/flux-1-schnell", {"prompt": "a cat"}
V2, PROMPT = "/api/v2/jobs", "/prompt"

DIALECTS = [
    Dialect(
        name="OpenAI",
        path=OPENAI,
        good=IMAGE,
        shape=openai_shape,
        mistakes={
            "unknown model": changed(OPENAI, IMAGE, 400, model="no-such-model"),
            "wrong type": changed(OPENAI, IMAGE, 400, n="two"),
            "over the limit": changed(OPENAI, IMAGE, 400, n=1000),
            "huge size": changed(OPENAI, IMAGE, 400, size="100000x100000"),
            "no file": Asked(path="/v1/images/edits", body=EDIT, status=400),
        },
    ),
    Dialect(
        name="Pixel Factory",
        path=OWN,
        good=IMAGE,
        shape=openai_shape,
        mistakes={
            "unknown model": changed(OWN, IMAGE, 400, model="no-such-model"),
            "wrong type": changed(OWN, IMAGE, 400, steps="many"),
            "over the limit": changed(OWN, IMAGE, 400, steps=10**6),
            "huge size": changed(OWN, IMAGE, 400, size="100000x100000"),
            "no file": Asked(path=OWN, body=EDIT, status=400),
        },
    ),
    Dialect(
        name="PixelAPI",
        path=PIXELAPI,
        good=PIXELAPI_BODY,
        shape=pixelapi_shape,
        mistakes={
            "unknown model": changed(PIXELAPI, PIXELAPI_BODY, 422, model="no-such-model"),
            "wrong type": changed(PIXELAPI, PIXELAPI_BODY, 422, width="wide"),
            "over the limit": changed(PIXELAPI, PIXELAPI_BODY, 422, steps=10**6),
            "huge size": changed(PIXELAPI, PIXELAPI_BODY, 422, width=100_000),
        },
    ),
    Dialect(
        name="PixelDojo",
        path=PIXELDOJO,
        good=PIXELDOJO_BODY,
        shape=pixeldojo_shape,
        mistakes={
            "unknown model": Asked(path="/api/v1/models/no-such-model/run", body=PIXELDOJO_BODY, status=404),
            "wrong type": changed(PIXELDOJO, PIXELDOJO_BODY, 400, num_outputs="two"),
            "over the limit": changed(PIXELDOJO, PIXELDOJO_BODY, 400, num_outputs=1000),
            "huge size": changed(PIXELDOJO, PIXELDOJO_BODY, 400, width=100_000),
            "no file": Asked(
                path="/api/v1/models/4x-ultrasharp/run", body={"image_url": NO_IMAGE}, status=400
            ),
        },
    ),
    Dialect(
        name="Pixazo",
        path=PIXAZO,
        good=PIXAZO_BODY,
        shape=pixazo_shape,
        mistakes={
            "wrong type": changed(PIXAZO, PIXAZO_BODY, 400, num_images="two"),
            "over the limit": changed(PIXAZO, PIXAZO_BODY, 400, num_images=1000),
        },
    ),
    Dialect(
        name="Replicate",
        path=REPLICATE,
        good={"input": SMALL},
        shape=problem_shape,
        mistakes={
            "unknown model": Asked(
                path="/v1/models/unknown/nothing/predictions", body={"input": SMALL}, status=404
            ),
            "wrong type": Asked(path=REPLICATE, body={"input": SMALL | {"num_outputs": "two"}}, status=422),
            "over the limit": Asked(
                path=REPLICATE, body={"input": SMALL | {"num_outputs": 1000}}, status=422
            ),
            "huge size": Asked(path=REPLICATE, body={"input": SMALL | {"width": 10**5}}, status=422),
            "no file": Asked(
                path="/v1/models/pixel-factory/4x-ultrasharp/predictions",
                body={"input": {"image": NO_IMAGE}},
                status=422,
            ),
        },
    ),
    Dialect(
        name="fal",
        path=FAL,
        good=FAL_BODY,
        shape=detail_shape,
        no_money=403,
        auth=fal_key,
        mistakes={
            "unknown model": Asked(path="/fal/queue/fal-ai/no-such-app", body=FAL_BODY, status=404),
            "wrong type": changed(FAL, FAL_BODY, 422, num_images="two"),
            "over the limit": changed(FAL, FAL_BODY, 422, num_images=1000),
            "huge size": changed(FAL, FAL_BODY, 422, image_size={"width": 10**5, "height": 64}),
            "no file": Asked(
                path="/fal/queue/pixel-factory/4x-ultrasharp", body={"image_url": NO_IMAGE}, status=422
            ),
        },
    ),
    Dialect(
        name="AUTOMATIC1111",
        path=A1111,
        good=A1111_BODY,
        shape=a1111_shape,
        auth=basic,
        mistakes={
            "unknown model": changed(
                A1111, A1111_BODY, 422, override_settings={"sd_model_checkpoint": "no-such-model"}
            ),
            "wrong type": changed(A1111, A1111_BODY, 422, steps="many"),
            "over the limit": changed(A1111, A1111_BODY, 422, batch_size=1000),
            "huge size": changed(A1111, A1111_BODY, 422, width=100_000),
            "no file": Asked(
                path="/sdapi/v1/img2img", body=A1111_BODY | {"init_images": [NO_IMAGE]}, status=422
            ),
        },
    ),
    Dialect(
        name="HuggingFace",
        path=HF,
        good=HF_BODY,
        shape=huggingface_shape,
        mistakes={
            "unknown model": Asked(path="/hf/unknown/nothing", body=HF_BODY, status=404),
            "wrong type": changed(HF, HF_BODY, 400, parameters={"width": "wide"}),
            "over the limit": changed(HF, HF_BODY, 400, parameters={"num_inference_steps": 10**6}),
            "huge size": changed(HF, HF_BODY, 400, parameters={"width": 100_000}),
        },
    ),
    Dialect(
        name="Comfy Router",
        path=ROUTER,
        good=ROUTER_BODY,
        shape=router_shape,
        mistakes={
            "unknown model": Asked(path="/v2/models/unknown/nothing", body=ROUTER_BODY, status=404),
            "wrong type": changed(ROUTER, ROUTER_BODY, 422, steps="many"),
            "over the limit": changed(ROUTER, ROUTER_BODY, 422, steps=10**6),
            "huge size": changed(ROUTER, ROUTER_BODY, 422, width=100_000),
            "no file": Asked(path="/v2/models/community/4x-ultrasharp", body={"image": NO_IMAGE}, status=422),
        },
    ),
    Dialect(
        name="Comfy API v2",
        path=V2,
        good={"workflow": drawn()},
        shape=v2_shape,
        mistakes={
            "unknown class": Asked(
                path=V2, body={"workflow": {"1": {"class_type": "Nope", "inputs": {}}}}, status=422
            ),
            "wrong type": Asked(path=V2, body={"workflow": drawn(width="wide")}, status=422),
            "over the limit": Asked(path=V2, body={"workflow": drawn(batch_size=1000)}, status=422),
            "huge size": Asked(path=V2, body={"workflow": drawn(width=16_000)}, status=422),
            "no file": Asked(path=V2, body={"workflow": loading("never.png")}, status=422),
            "a path": Asked(path=V2, body={"workflow": loading("/etc/passwd")}, status=422),
            "ten thousand nodes": Asked(
                path=V2, body={"workflow": {str(id): drawn()["1"] for id in range(10_000)}}, status=413
            ),
            "a loop": Asked(
                path=V2,
                body={
                    "workflow": drawn() | {"1": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}}
                },
                status=422,
            ),
            "nothing to save": Asked(path=V2, body={"workflow": {"1": drawn()["1"]}}, status=422),
        },
    ),
    Dialect(
        name="ComfyUI",
        path=PROMPT,
        good={"prompt": drawn()},
        shape=comfyui_shape,
        mistakes={
            "unknown class": Asked(
                path=PROMPT, body={"prompt": {"1": {"class_type": "Nope", "inputs": {}}}}, status=400
            ),
            "wrong type": Asked(path=PROMPT, body={"prompt": drawn(width="wide")}, status=400),
            "over the limit": Asked(path=PROMPT, body={"prompt": drawn(batch_size=1000)}, status=400),
            "huge size": Asked(path=PROMPT, body={"prompt": drawn(width=16_000)}, status=400),
            "no file": Asked(path=PROMPT, body={"prompt": loading("never.png")}, status=400),
            "a path": Asked(path=PROMPT, body={"prompt": loading("../../etc/passwd")}, status=400),
            "ten thousand nodes": Asked(
                path=PROMPT, body={"prompt": {str(id): drawn()["1"] for id in range(10_000)}}, status=400
            ),
            "nothing to save": Asked(path=PROMPT, body={"prompt": {"1": drawn()["1"]}}, status=400),
        },
    ),
]
MISTAKES = [(dialect, name) for dialect in DIALECTS for name in dialect.mistakes]


@pytest.fixture(scope="module")
def http(offering: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=offering.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def key(offering: ServiceProcess) -> str:
    return new_key(offering, "50.00", scopes=SCOPES)


@pytest.fixture(scope="module")
def stranger(offering: ServiceProcess) -> str:
    return new_key(offering, "50.00", scopes=SCOPES)


def balance(http: httpx.Client, key: str) -> Body:
    found = http.get("/api/v1/billing/balance", headers=bearer(key)).json()
    return {name: found[name] for name in ("balance_usd", "held_usd")}


@pytest.mark.parametrize(("dialect", "mistake"), MISTAKES, ids=lambda value: str(value))
def test_a_mistake_has_the_dialects_status_and_shape(
    http: httpx.Client, key: str, dialect: Dialect, mistake: str
) -> None:
    asked, before = dialect.mistakes[mistake], balance(http, key)
    response = http.post(asked.path, json=asked.body, headers=dialect.auth(key))
    assert response.status_code == asked.status, response.text
    dialect.shape(response.json())
    assert balance(http, key) == before


#: Requests of models that take no images, with one.
WITH_IMAGE = {
    "OpenAI": (OPENAI, IMAGE | {"image": PICTURE}),
    "Pixel Factory": (OWN, IMAGE | {"image_url": PICTURE}),
    "PixelAPI": (PIXELAPI, {"model": "flux-1-schnell", "prompt": "a cat", "image": PICTURE}),
    "PixelDojo": (PIXELDOJO, PIXELDOJO_BODY | {"image_url": PICTURE}),
    "Replicate": (REPLICATE, {"input": SMALL | {"image": PICTURE}}),
    "fal": (FAL, FAL_BODY | {"image_url": PICTURE}),
    "HuggingFace": (HF, {"inputs": PICTURE, "parameters": {"prompt": "a cat"}}),
    "Comfy Router": (ROUTER, ROUTER_BODY | {"image": PICTURE}),
}


@pytest.mark.parametrize("name", WITH_IMAGE)
def test_a_refused_image_names_models_that_take_one(http: httpx.Client, key: str, name: str) -> None:
    dialect = next(each for each in DIALECTS if each.name == name)
    path, body = WITH_IMAGE[name]
    response = http.post(path, json=body, headers=dialect.auth(key))
    assert response.status_code in (400, 422), response.text
    # Router's paths have owners.
    first = "black-forest-labs/flux-1-kontext-dev" if name == "Comfy Router" else "flux-1-kontext-dev"
    assert f"or use one of: {first}, " in response.text


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_wrong_key_and_an_empty_wallet(
    http: httpx.Client, offering: ServiceProcess, dialect: Dialect
) -> None:
    poor = new_key(offering, None, scopes=SCOPES)
    for key, status in (("pk-wrong", dialect.wrong_key), (poor, dialect.no_money)):
        response = http.post(dialect.path, json=dialect.good, headers=dialect.auth(key))
        assert response.status_code == status, response.text
        dialect.shape(response.json())


# Jobs


@dataclass(frozen=True, kw_only=True)
class JobDialect:
    """A dialect whose requests are jobs with an address."""

    dialect: Dialect
    #: From the answer to a request to the address of its job, and to that for cancelling it.
    job: Callable[[Body], str]
    cancel: Callable[[Body], tuple[str, str]]
    #: The id of the job from the answer.
    job_id: Callable[[Body], str]
    #: Statuses of: a job of another account, an expired one.
    foreign: int = 404
    expired: int = 410
    #: Statuses of cancelling a finished job twice.
    late: tuple[int, int] = (200, 200)

    def __str__(self) -> str:
        return self.dialect.name


def named(name: str) -> Dialect:
    return next(dialect for dialect in DIALECTS if dialect.name == name)


JOBS = [
    JobDialect(
        dialect=named("PixelDojo"),
        job=lambda body: f"/api/v1/jobs/{body['jobId']}",
        cancel=lambda body: ("DELETE", f"/api/v1/jobs/{body['jobId']}"),
        job_id=lambda body: str(body["jobId"]),
    ),
    JobDialect(
        dialect=named("Replicate"),
        job=lambda body: f"/v1/predictions/{body['id']}",
        cancel=lambda body: ("POST", f"/v1/predictions/{body['id']}/cancel"),
        job_id=lambda body: str(body["id"]),
    ),
    JobDialect(
        dialect=named("fal"),
        job=lambda body: f"/fal/queue/fal-ai/flux/requests/{body['request_id']}/status",
        cancel=lambda body: ("PUT", f"/fal/queue/fal-ai/flux/requests/{body['request_id']}/cancel"),
        job_id=lambda body: job_id_from_uuid(body["request_id"]),
        late=(400, 400),
    ),
    JobDialect(
        dialect=named("Comfy API v2"),
        job=lambda body: f"/api/v2/jobs/{body['id']}",
        cancel=lambda body: ("POST", f"/api/v2/jobs/{body['id']}/cancel"),
        job_id=lambda body: str(body["id"]),
        expired=404,
    ),
    JobDialect(
        dialect=named("ComfyUI"),
        job=lambda body: f"/api/jobs/{body['prompt_id']}",
        cancel=lambda body: ("POST", f"/api/jobs/{body['prompt_id']}/cancel"),
        job_id=lambda body: job_id_from_uuid(body["prompt_id"]),
        expired=404,
    ),
]


@pytest.mark.parametrize("jobs", JOBS, ids=str)
def test_foreign_finished_and_expired_jobs(
    http: httpx.Client, offering: ServiceProcess, key: str, stranger: str, jobs: JobDialect
) -> None:
    dialect = jobs.dialect
    mine, theirs = dialect.auth(key), dialect.auth(stranger)
    made = http.post(dialect.path, json=dialect.good, headers=mine)
    assert made.status_code in (200, 201, 202), made.text
    body = made.json()
    path, (method, cancel_path) = jobs.job(body), jobs.cancel(body)
    for asked in (http.get(path, headers=theirs), http.get(unknown(path, body), headers=mine)):
        assert asked.status_code == jobs.foreign, asked.text
        dialect.shape(asked.json())
    http.request(method, cancel_path, headers=theirs)
    wait_until_sync(lambda: is_finished(http.get(path, headers=mine).json()))
    job_id = full_id(jobs.job_id(body))
    statuses = [http.request(method, cancel_path, headers=mine).status_code for _ in range(2)]
    assert tuple(statuses) == jobs.late
    set_back(offering, job_id, timedelta(days=40))
    expired = http.get(path, headers=mine)
    assert expired.status_code == jobs.expired, expired.text
    dialect.shape(expired.json())


def unknown(path: str, body: Body) -> str:
    """The address of a job that there is not."""
    known = next(body[name] for name in ("jobId", "id", "request_id", "prompt_id") if name in body)
    return path.replace(str(known), str(uuid4()))


def full_id(id: str) -> str:
    return id if id.startswith("job_") else parse_prediction_id(id)


def is_finished(body: Body) -> bool:
    assert body["status"] not in ("canceled", "cancelled"), "a stranger has cancelled it"
    return body["status"] in ("succeeded", "completed", "COMPLETED")
