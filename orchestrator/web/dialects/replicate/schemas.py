"""Request and response bodies of Replicate's API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.web.http.request_model import RequestModel
from orchestrator.web.http.response_model import JsonNumber, ResponseModel

WebhookEvent = Literal["start", "output", "logs", "completed"]
PredictionStatus = Literal["starting", "processing", "succeeded", "failed", "canceled"]
_EXAMPLE_ID = "h2vkdhv3tbd2ktkyr6f3zc6mge"
_EXAMPLE_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_EXAMPLE_TIME = "2026-01-31T12:00:00.000000Z"


class ModelPredictionBody(RequestModel):
    """Body of `POST /v1/models/{owner}/{name}/predictions`."""

    input: dict[str, Any] = Field(
        description="The parameters of the model, by its own names or by Replicate's.",
        examples=[{"prompt": "A lighthouse at dawn, oil painting"}],
    )
    webhook: str | None = Field(None, description="URL that is called about the prediction.")
    webhook_events_filter: list[WebhookEvent] | None = Field(
        None,
        description="When it is called: when the prediction starts, when a file is there, when all are."
        " `logs` sends no message. Default: all.",
    )
    webhook_completed: str | None = Field(
        None, description="URL that is called when the prediction is finished; the older form of `webhook`."
    )
    stream: bool | None = Field(
        None, description="Every prediction has a stream in `urls`; this changes nothing."
    )


class PredictionBody(ModelPredictionBody):
    """Body of `POST /v1/predictions`."""

    version: str = Field(
        description="Id of a version, or `owner/name`, or `owner/name:version`.",
        examples=["black-forest-labs/flux-schnell"],
    )


class PredictionUrls(ResponseModel):
    """Addresses of a prediction."""

    get: str = Field(
        description="The prediction.", examples=[f"https://api.example.com/v1/predictions/{_EXAMPLE_ID}"]
    )
    cancel: str = Field(
        description="Cancels it; for POST.",
        examples=[f"https://api.example.com/v1/predictions/{_EXAMPLE_ID}/cancel"],
    )
    stream: str = Field(
        description="Its server-sent events; needs no key.",
        examples=[f"https://api.example.com/v1/files/stream/{_EXAMPLE_ID}/9c4e"],
    )


class PredictionMetrics(ResponseModel):
    """How long a prediction took."""

    predict_time: JsonNumber | None = Field(
        None, description="Seconds from its start to its end; absent before.", examples=[1.42]
    )
    total_time: JsonNumber | None = Field(
        None, description="Seconds from its creation to its end; absent before.", examples=[1.6]
    )
    image_count: int | None = Field(None, description="Number of images; absent before.", examples=[1])


class Prediction(ResponseModel):
    """A prediction: one run of a model."""

    id: str = Field(description="Id of the prediction.", examples=[_EXAMPLE_ID])
    model: str = Field(description="The model, `owner/name`.", examples=["black-forest-labs/flux-schnell"])
    version: str = Field(description="Id of the model's version.", examples=[_EXAMPLE_VERSION])
    input: dict[str, Any] = Field(
        description="The input; files in it are shortened.", examples=[{"prompt": "A lighthouse at dawn"}]
    )
    output: list[str] | str | None = Field(
        description="URLs of the images, or the URL of another file; null until there is one.",
        examples=[["https://api.example.com/results/job_3f2a.../1767225600/9c4e.../outputs/3f/3f2a.png"]],
    )
    logs: str = Field(description="What the run has reported, a line each.", examples=["Using seed: 7\n"])
    error: str | None = Field(description="Why it failed; null otherwise.", examples=[None])
    status: PredictionStatus = Field(description="State of the prediction.", examples=["succeeded"])
    created_at: str = Field(description="When it was created.", examples=[_EXAMPLE_TIME])
    started_at: str | None = Field(description="When it started; null before.", examples=[_EXAMPLE_TIME])
    completed_at: str | None = Field(description="When it ended; null before.", examples=[_EXAMPLE_TIME])
    data_removed: bool = Field(description="Whether its files are deleted.", examples=[False])
    metrics: PredictionMetrics = Field(description="How long it took.")
    source: Literal["api"] = Field(description="Always `api`.")
    urls: PredictionUrls = Field(description="Addresses of the prediction.")
    warnings: list[str] | None = Field(
        None, description="What of the request had no effect; absent if all had.", examples=[None]
    )


class PredictionPage(ResponseModel):
    """A page of the account's predictions, newest first."""

    previous: str | None = Field(description="Always null: pages are read forwards.", examples=[None])
    next: str | None = Field(description="URL of the next page; null on the last one.", examples=[None])
    results: list[Prediction] = Field(description="The predictions.")


class ModelVersion(ResponseModel):
    """A version of a model."""

    id: str = Field(description="Id of the version.", examples=[_EXAMPLE_VERSION])
    created_at: str = Field(description="When the model was released.", examples=[_EXAMPLE_TIME])
    cog_version: str = Field(description="Version of the interface that clients expect.", examples=["0.16.0"])
    openapi_schema: dict[str, Any] = Field(
        description="OpenAPI document with the schemas `Input` and `Output`.",
        examples=[{"components": {"schemas": {"Input": {"type": "object"}}}}],
    )


class ModelVersionPage(ResponseModel):
    """The versions of a model that are offered: one."""

    previous: str | None = Field(description="Always null.", examples=[None])
    next: str | None = Field(description="Always null.", examples=[None])
    results: list[ModelVersion] = Field(description="The versions.")


class ReplicateModelEntry(ResponseModel):
    """A model as Replicate's clients read it, in a list."""

    url: str = Field(
        description="Address of the model.",
        examples=["https://api.example.com/v1/models/black-forest-labs/flux-schnell"],
    )
    owner: str = Field(description="Organization that made it.", examples=["black-forest-labs"])
    name: str = Field(description="Name that was asked for.", examples=["flux-schnell"])
    description: str | None = Field(description="What it is good at.", examples=["Fast images."])
    visibility: Literal["public", "private"] = Field(description="`private` for drafts.", examples=["public"])
    github_url: str | None = Field(description="Always null.", examples=[None])
    paper_url: str | None = Field(description="Always null.", examples=[None])
    license_url: str | None = Field(description="Always null.", examples=[None])
    run_count: int = Field(description="Always 0: runs of all accounts are not shown.", examples=[0])
    cover_image_url: str | None = Field(description="Always null.", examples=[None])
    default_example: None = Field(description="Always null.", examples=[None])


class ReplicateModel(ReplicateModelEntry):
    """A model as Replicate's clients read it."""

    latest_version: ModelVersion = Field(description="The version that is offered.")


class ReplicateModelPage(ResponseModel):
    """The models, for Replicate's clients."""

    previous: None = Field(description="Always null: all models are on one page.")
    next: None = Field(description="Always null.")
    results: list[ReplicateModelEntry] = Field(description="The models.")


class ReplicateAccount(ResponseModel):
    """The caller's account."""

    type: Literal["organization"] = Field(description="Always `organization`.")
    username: str = Field(description="Id of the account.", examples=["acct_5d1f0c8b"])
    name: str = Field(description="Name of the account.", examples=["ann"])
    github_url: str | None = Field(description="Always null.", examples=[None])


class WebhookSecret(ResponseModel):
    """The secret that signs the account's webhooks."""

    key: str = Field(
        description="The secret, `whsec_...`.", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    )


class FileUploadBody(RequestModel):
    """Form of `POST /v1/files`."""

    content: str = Field(description="The file.", json_schema_extra={"format": "binary"})
    filename: str | None = Field(None, description="Its name, instead of that of the form's part.")
    type: str | None = Field(None, description="Its content type, instead of that of the form's part.")
    metadata: dict[str, Any] | None = Field(None, description="Anything to keep with it, as JSON.")


class FileUrls(ResponseModel):
    """Addresses of a file."""

    get: str = Field(
        description="The file's description; as an input it stands for the file itself.",
        examples=["https://api.example.com/v1/files/file_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"],
    )


class ReplicateFile(ResponseModel):
    """An uploaded file."""

    id: str = Field(description="Id of the file.", examples=["file_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"])
    name: str = Field(description="Its name.", examples=["cat.png"])
    content_type: str = Field(description="Its content type.", examples=["image/png"])
    size: int = Field(description="Its size in bytes.", examples=[1482913])
    etag: str = Field(description="Changes with its bytes.", examples=["9c4e"])
    checksums: dict[str, str] = Field(description="Digests of its bytes.", examples=[{"sha256": "3f2a"}])
    metadata: dict[str, Any] = Field(description="What was kept with it.", examples=[{}])
    created_at: str = Field(description="When it was uploaded.", examples=[_EXAMPLE_TIME])
    expires_at: str = Field(description="When it is deleted.", examples=[_EXAMPLE_TIME])
    urls: FileUrls = Field(description="Addresses of the file.")


class ReplicateFilePage(ResponseModel):
    """The account's files, newest first."""

    previous: str | None = Field(description="Always null.", examples=[None])
    next: str | None = Field(description="Always null.", examples=[None])
    results: list[ReplicateFile] = Field(description="The files.")
