"""Jobs and results as Comfy API v2 shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from aiohttp import web

from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.events import EventHub, ShardProgress
from orchestrator.own_graphs.model import GRAPH_PARAM
from orchestrator.own_graphs.result_names import NamedOutput, name_outputs
from orchestrator.web.dialects.comfy.graph_jobs import (
    LABELS_PARAM,
    GraphJobs,
    failed_node,
)
from orchestrator.web.dialects.comfy.v2_schemas import (
    JobStatusName,
    V2Job,
    V2JobError,
    V2JobListItem,
    V2JobUrls,
    V2Output,
    V2Progress,
)
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery

STATUS_NAMES: dict[JobStatus, JobStatusName] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "canceled",
}
_RESULT_ID = re.compile(r"out_([0-9a-f]{32})_(\d{1,4})", re.ASCII)
_URL_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class V2Views:
    """Builds the bodies of jobs."""

    jobs: GraphJobs
    updates: JobUpdates
    events: EventHub
    delivery: OutputDelivery
    public_url: str | None

    def base_url(self, request: web.Request) -> str:
        """Return the URL at which callers reach the service."""
        return public_base_url(request, self.public_url)

    def job(self, record: JobRecord, request: web.Request) -> V2Job:
        """Return a job."""
        job, path = record.job, f"/api/v2/jobs/{record.job.id}"
        position = None if job.is_finished else self.updates.get_queue_position(job.id)
        return V2Job(
            id=job.id,
            status=STATUS_NAMES[job.status],
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.finished_at,
            expires_at=self.jobs.expires_at(job),
            queue_position=position.position if position else None,
            progress=self.latest_progress(record),
            outputs=self.outputs(record, request),
            error=self._error(record),
            metrics={
                "queue_ms": _milliseconds(job.created_at, job.started_at),
                "execution_ms": _milliseconds(job.started_at, job.finished_at),
                "cost_micros": job.price if job.status is JobStatus.SUCCEEDED else 0,
            },
            metadata=dict(job.params.get(LABELS_PARAM) or {}),
            urls=V2JobUrls(self=path, events=f"{path}/events", cancel=f"{path}/cancel"),
        )

    def list_item(self, record: JobRecord) -> V2JobListItem:
        """Return a job in a list."""
        job = record.job
        return V2JobListItem(
            id=job.id,
            status=STATUS_NAMES[job.status],
            create_time=job.created_at,
            update_time=job.finished_at or job.started_at or job.created_at,
            deployment_id=None,
            metadata=dict(job.params.get(LABELS_PARAM) or {}),
        )

    def outputs(self, record: JobRecord, request: web.Request) -> list[V2Output]:
        """Return the results of a job that has succeeded."""
        if record.job.status is not JobStatus.SUCCEEDED:
            return []
        return [self._output(record, named, request) for named in name_outputs(record)]

    def _output(self, record: JobRecord, named: NamedOutput, request: web.Request) -> V2Output:
        job, output = record.job, named.output
        end = min(self.jobs.expires_at(job), self.jobs.expiry.clock() + _URL_LIFETIME)
        return V2Output(
            id=result_id(job.id, named.index),
            job_id=job.id,
            node_id=named.node,
            name=named.name,
            type=kind_of(output.content_type),
            content_type=output.content_type,
            size_bytes=output.size,
            hash=f"blake3:{output.blake3}" if output.blake3 else None,
            url=self.delivery.url_of(job.id, output.key, request, expires=end),
            url_expires_at=end,
        )

    def latest_progress(self, record: JobRecord) -> V2Progress | None:
        """Return how far a job is; None while it waits, and if it has failed or was cancelled."""
        total = len(record.job.params[GRAPH_PARAM])
        if record.job.status is JobStatus.SUCCEEDED:
            return V2Progress(value=1.0, nodes_done=total, nodes_total=total)
        latest = () if record.job.is_finished else self.events.latest_progress(record.job.id)
        return to_progress(record, latest[-1]) if latest else None

    @staticmethod
    def _error(record: JobRecord) -> V2JobError | None:
        error = record.job.error
        if error is None:
            return None
        node, class_type = failed_node(record.job)
        return V2JobError(
            code=error.code, message=error.message, node_id=node, class_type=class_type, traceback=None
        )


def to_progress(record: JobRecord, event: ShardProgress) -> V2Progress:
    """Return a progress event as a complete snapshot."""
    graph = record.job.params[GRAPH_PARAM]
    has_steps = event.maximum > 1
    return V2Progress(
        value=min(max(event.fraction, 0.0), 1.0),
        nodes_done=min(event.nodes_done, len(graph)),
        nodes_total=len(graph),
        current_node=event.node_id,
        current_node_class=graph.get(event.node_id, {}).get("class_type"),
        step=int(event.value) if has_steps else None,
        steps=int(event.maximum) if has_steps else None,
        message=None,
    )


OutputKind = Literal["image", "video", "audio", "text", "file"]


def kind_of(content_type: str) -> OutputKind:
    """Return the kind of a file by its content type."""
    kinds: tuple[OutputKind, ...] = ("image", "video", "audio", "text")
    return next((kind for kind in kinds if content_type.startswith(f"{kind}/")), "file")


def result_id(job_id: str, index: int) -> str:
    """Return the id of a result as an asset."""
    return f"out_{job_id.removeprefix('job_')}_{index}"


def parse_result_id(text: str) -> tuple[str, int] | None:
    """Return job id and position of a result; None if the text is no such id."""
    found = _RESULT_ID.fullmatch(text)
    return (f"job_{found[1]}", int(found[2])) if found else None


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else round((end - start).total_seconds() * 1000)
