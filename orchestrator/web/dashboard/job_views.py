"""Jobs as the playground and its gallery show them."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from pydantic import Field

from orchestrator.jobs import JobRecord, Shard
from orchestrator.jobs.objects import input_keys
from orchestrator.media.gallery_thumbnails import has_thumbnail
from orchestrator.web.http.response_model import ResponseModel
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.schemas import JobFields, job_field_values
from pricing.money import to_usd


class PlaygroundOutput(ResponseModel):
    """An output of a job."""

    url: str = Field(description="Path of the file; it expires.")
    thumbnail: str | None = Field(description="Path of a small image of it; null for audio, text and meshes.")
    type: str = Field(description="Content type.")
    width: int | None = Field(description="Width in pixels.")
    height: int | None = Field(description="Height in pixels.")
    frames: int | None = Field(description="Number of frames of a video.")
    fps: float | None = Field(description="Frames per second of a video.")
    seed: str | None = Field(description="The seed that it was made with, as a string.")


class PlaygroundJob(JobFields):
    """A job with all outputs in the order of their seeds.

    The seed is a string, because JavaScript rounds integers above 2^53.
    """

    outputs: list[PlaygroundOutput] = Field(description="The outputs.")
    shardStates: list[str] = Field(description="The state of each shard, in their order.")
    expired: bool = Field(description="Whether its files are no longer kept.")
    inputs: dict[str, list[str]] = Field(description="Paths of its input files by parameter.")
    priceUsd: float = Field(description="Amount held while it is unfinished, and charged once it succeeds.")


class PlaygroundJobList(ResponseModel):
    """A page of jobs, newest first."""

    jobs: list[PlaygroundJob] = Field(description="The jobs.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


def to_playground_job(record: JobRecord, delivery: OutputDelivery, request: web.Request) -> PlaygroundJob:
    """Return a job as the playground shows it."""
    job = record.job
    fields, seed = job_field_values(record, delivery, request), job.params.get("seed")
    params = fields["params"] if seed is None else fields["params"] | {"seed": str(seed)}
    return PlaygroundJob(
        # Pages show `outputs`: the same files by long URLs would double what is sent.
        **(fields | {"params": params, "output": {}, "assets": []}),
        outputs=list(_list_outputs(record, delivery)),
        shardStates=[shard.status.value for shard in record.shards],
        expired=delivery.expiry.is_expired(job),
        inputs={
            name: [f"/dashboard/api/jobs/{job.id}/inputs/{name}/{index}" for index in range(len(keys))]
            for name, keys in input_keys(job.params).items()
        },
        priceUsd=to_usd(job.price),
    )


def _list_outputs(record: JobRecord, delivery: OutputDelivery) -> Iterator[PlaygroundOutput]:
    job = record.job
    made = [(shard, output) for shard in record.shards for output in shard.outputs]
    for index, (shard, output) in enumerate(made):
        path = f"/dashboard/api/jobs/{job.id}/outputs/{index}/thumbnail"
        yield PlaygroundOutput(
            url=delivery.path_of(job.id, output.key),
            thumbnail=path if has_thumbnail(output.content_type) else None,
            type=output.content_type,
            width=output.width,
            height=output.height,
            frames=output.frames,
            fps=output.fps,
            seed=_seed_of(shard),
        )


def _seed_of(shard: Shard) -> str | None:
    seed = shard.params.get("seed")
    return None if seed is None else str(seed)
