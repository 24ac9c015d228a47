"""Request ids of Pixazo's gateway, and the origin by which a job remembers its gateway model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.jobs import Job
from orchestrator.web.dialects.ids import job_id_from_uuid, job_id_to_uuid

DIALECT_NAME = "pixazo"
_REQUEST_ID_PATTERN = re.compile(
    r"(?P<model>[\w.-]+)_(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobReference:
    """The job that a request id stands for."""

    #: Origin that the job must have.
    origin: str
    job_id: str


def to_origin(model_id: str) -> str:
    """Return the origin of jobs that are requested from a model of the gateway."""
    return f"{DIALECT_NAME}/{model_id}"


def to_model_id(job: Job) -> str:
    """Return the gateway's name of the model that a job was requested from."""
    return (job.origin or "").removeprefix(f"{DIALECT_NAME}/")


def to_request_id(job: Job) -> str:
    """Return the request id of a job, for example `flux-dev_019d42ce-...`."""
    return f"{to_model_id(job)}_{job_id_to_uuid(job.id)}"


def parse_request_id(request_id: str) -> JobReference | None:
    """Return the job that a request id stands for, or None if the text is no request id."""
    found = _REQUEST_ID_PATTERN.fullmatch(request_id)
    if found is None:
        return None
    return JobReference(origin=to_origin(found["model"]), job_id=job_id_from_uuid(found["uuid"]))
