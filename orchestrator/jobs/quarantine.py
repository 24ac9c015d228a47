"""Shards that are not run again, because instances died while they ran them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.jobs.job import Attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedShard:
    """A quarantined shard with what an operator needs to reproduce the death."""

    shard_id: str
    job_id: str
    account_id: str
    model: str
    #: SHA-256 of the model version that ran.
    model_digest: str
    #: The graph in ComfyUI's API format, with object keys in place of uploaded files. None if the model was
    #: withdrawn meanwhile.
    graph: Mapping[str, Any] | None
    quarantined_at: datetime
    #: Its attempts, oldest first; filled in by the store.
    attempts: Sequence[Attempt] = ()
