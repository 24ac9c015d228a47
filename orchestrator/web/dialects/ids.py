"""Job ids in other forms: some dialects write the 128 random bits of `job_...` as `a1b2c3d4-...`."""

from __future__ import annotations

from uuid import UUID

_JOB_ID_PREFIX = "job_"


def job_id_to_uuid(job_id: str) -> str:
    """Return the UUID of a job id."""
    return str(UUID(hex=job_id.removeprefix(_JOB_ID_PREFIX)))


def job_id_from_uuid(text: str) -> str:
    """Return the job id of a UUID. Other text is returned unchanged; no job has such an id."""
    try:
        return f"{_JOB_ID_PREFIX}{UUID(text).hex}"
    except ValueError:
        return text


def job_id_to_hex(job_id: str) -> str:
    """Return the hexadecimal digits of a job id."""
    return job_id.removeprefix(_JOB_ID_PREFIX)


def job_id_from_hex(digits: str) -> str:
    """Return the job id of hexadecimal digits."""
    return f"{_JOB_ID_PREFIX}{digits}"
