"""Bodies of Comfy API v2."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.web.http.response_model import IsoDatetime, ResponseModel

JobStatusName = Literal["queued", "running", "succeeded", "canceling", "canceled", "failed", "expired"]


class V2SubmitBody(BaseModel):
    """A graph to run."""

    model_config = ConfigDict(extra="forbid")

    workflow: dict[str, Any] = Field(description="The graph in API format.")
    extra_data: dict[str, Any] | None = Field(
        None, description="Keys of Comfy's partners; not used, and not stored."
    )
    metadata: dict[str, Any] | None = Field(None, description="Labels: up to 16 pairs of texts.")


class V2Progress(ResponseModel):
    """How far a run is."""

    value: float = Field(description="0 to 1.")
    nodes_done: int = Field(description="Nodes that have finished.")
    nodes_total: int = Field(description="Nodes of the graph.")
    current_node: str | None = Field(None, description="Id of the node that runs.")
    current_node_class: str | None = Field(None, description="Its class.")
    step: int | None = Field(None, description="Steps of the node that are done.")
    steps: int | None = Field(None, description="Steps of the node.")
    message: str | None = Field(None, description="Always null.")


class V2JobError(ResponseModel):
    """Why a job failed."""

    code: str = Field(description="Machine-readable code.")
    message: str = Field(description="What is wrong.")
    node_id: str | None = Field(None, description="The node that failed.")
    class_type: str | None = Field(None, description="Its class.")
    traceback: str | None = Field(None, description="Always null.")


class V2Output(ResponseModel):
    """A result."""

    id: str = Field(description="Id of the result as an asset.")
    job_id: str = Field(description="The job that made it.")
    node_id: str = Field(description="The node that made it.")
    name: str = Field(description="File name.")
    type: Literal["image", "video", "audio", "text", "file", "latent"] = Field(description="Kind of file.")
    content_type: str = Field(description="Content type.")
    size_bytes: int = Field(description="Size in bytes.")
    hash: str | None = Field(description="BLAKE3 of the bytes.")
    url: str = Field(description="URL of the file, which needs no key.")
    url_expires_at: IsoDatetime = Field(description="When the URL ends.")


class V2JobUrls(ResponseModel):
    """Where to go on."""

    self: str = Field(description="The job.")
    events: str = Field(description="Its events.")
    cancel: str = Field(description="Its cancellation.")


class V2Job(ResponseModel):
    """A job."""

    id: str = Field(description="Id.")
    status: JobStatusName = Field(description="Status.")
    created_at: IsoDatetime = Field(description="When it was accepted.")
    started_at: IsoDatetime | None = Field(description="When it started.")
    completed_at: IsoDatetime | None = Field(description="When it finished.")
    expires_at: IsoDatetime = Field(description="When it and its files are deleted.")
    queue_position: int | None = Field(description="1 for the job that starts next.")
    progress: V2Progress | None = Field(description="How far it is.")
    outputs: list[V2Output] = Field(description="Results.")
    error: V2JobError | None = Field(description="Why it failed.")
    metrics: dict[str, int | None] = Field(description="`queue_ms`, `execution_ms`, `cost_micros`.")
    metadata: dict[str, str] = Field(description="Labels.")
    urls: V2JobUrls = Field(description="Links of the job.")


class V2JobListItem(ResponseModel):
    """A job in a list."""

    id: str = Field(description="Id.")
    status: JobStatusName = Field(description="Status.")
    create_time: IsoDatetime = Field(description="When it was accepted.")
    update_time: IsoDatetime = Field(description="When it changed last.")
    deployment_id: str | None = Field(description="Always null.")
    metadata: dict[str, str] = Field(description="Labels.")


class V2JobList(ResponseModel):
    """A page of jobs."""

    jobs: list[V2JobListItem] = Field(description="Newest first.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last one.")


class V2Workflow(ResponseModel):
    """The graph of a job."""

    workflow: dict[str, Any] = Field(description="The graph, as it was sent.")
    format: Literal["api"] = Field(description="Always `api`.")


class V2Asset(ResponseModel):
    """A file of the account."""

    id: str = Field(description="Id.")
    hash: str | None = Field(description="`blake3:` and 64 hexadecimal digits.")
    size_bytes: int = Field(description="Size in bytes.")
    content_type: str = Field(description="Content type.")
    created_at: IsoDatetime = Field(description="When it was stored.")
    expires_at: IsoDatetime = Field(description="When it is deleted.")
    url: str = Field(description="URL of its content, which needs the key.")
    url_expires_at: IsoDatetime = Field(description="When the URL ends.")
    file_path: str | None = Field(description="What the caller calls it.")
    job_id: str | None = Field(description="The job that made it; null for an upload.")
    created_new: bool = Field(description="Whether the request has stored new bytes.")


class V2FromHashBody(BaseModel):
    """A file whose bytes are stored already."""

    model_config = ConfigDict(extra="ignore")

    hash: str = Field(description="`blake3:` and 64 hexadecimal digits.")
    file_path: str | None = Field(None, description="What the caller calls it.")
    tags: list[str] | None = Field(None, description="Not used.")
