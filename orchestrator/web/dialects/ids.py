"""Ids of jobs as some documents write ids: their 128 random bits as a UUID, `a1b2c3d4-...`."""

from __future__ import annotations

from uuid import UUID

_JOB_ID_PREFIX = "job_"


def job_id_to_uuid(job_id: str) -> str:
    return str(UUID(hex=job_id.removeprefix(_JOB_ID_PREFIX)))


def job_id_from_uuid(text: str) -> str:
    """The other way round; what is no such id is left as it is, and no job has it."""
    try:
        return f"{_JOB_ID_PREFIX}{UUID(text).hex}"
    except ValueError:
        return text
