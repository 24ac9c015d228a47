"""LoRAs that accounts have trained: values and pure rules.

A LoRA is the file of a succeeded training job. It belongs to the account of that job and is kept longer than
other results, because requests refer to it by its job or by its name. Jobs that use it refer to its object,
so that a deletion does not take it away from them. No job, name or object of it is visible to other accounts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from orchestrator.jobs.job import JobRecord, Output

#: Name of the parameter of a job that holds the object keys of its LoRAs, by the job that trained them.
LORA_OBJECTS_PARAM = "lora_objects"
#: Longest name that the service makes of trigger words, without the part of the job's id.
_MAX_STEM_LENGTH = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedLora:
    """What a training request says about the LoRA that it makes."""

    #: Name that the caller has chosen; empty for a generated one.
    name: str
    #: Base architecture of the models that it fits.
    base: str
    trigger_word: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """The file of a succeeded training job."""

    #: The job that trained it; it is also the id of the LoRA.
    job_id: str
    account_id: str
    #: Not unique: a name stands for the newest LoRA with it.
    name: str
    base: str
    trigger_word: str
    #: The trainer.
    model: str
    #: Key of its object, and size and SHA-256 of the file.
    key: str
    size: int
    sha256: str
    created_at: datetime


def make_lora(record: JobRecord, output: Output, trained: TrainedLora, now: datetime) -> Lora:
    """Return the LoRA of a training job whose output is stored."""
    job = record.job
    return Lora(
        job_id=job.id,
        account_id=job.account_id,
        name=trained.name or generate_lora_name(trained.trigger_word or trained.base, job.id),
        base=trained.base,
        trigger_word=trained.trigger_word,
        model=job.model,
        key=output.key,
        size=output.size,
        sha256=output.sha256,
        created_at=now,
    )


def generate_lora_name(text: str, job_id: str) -> str:
    """Return a name from trigger words and the end of the job's id, such as `sks-dog-1a2b3c4d`."""
    stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MAX_STEM_LENGTH].strip("-")
    return f"{stem or 'lora'}-{job_id[-8:]}"
