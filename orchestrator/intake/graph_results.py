"""Finds results of an account's earlier graphs, by which a new graph refers to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.jobs import JobRecord, JobStatus, Output
from orchestrator.own_graphs import OWN_GRAPH_ID
from orchestrator.own_graphs.result_names import name_outputs

#: The id of a result as an asset, and its name as ComfyUI writes it: `FOLDER/FILE [output]`.
_RESULT_ID = re.compile(r"out_([0-9a-f]{32})_(\d{1,4})", re.ASCII)
_RESULT_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([^/\\]+?) *\[output\]", re.ASCII)


class JobFinder(Protocol):
    """Finds jobs of all accounts."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...


@dataclass(frozen=True, slots=True)
class GraphResults:
    """Looks results up by what a graph says."""

    jobs: JobFinder
    expiry: ExpiryPolicy

    async def find(self, account_id: str, reference: str) -> Output | None:
        """Return a result of the account by its id or its file name; None for anything else."""
        if found := _RESULT_ID.fullmatch(reference):
            record = await self._find_job(account_id, f"job_{found[1]}")
            position = int(found[2])
            return record.outputs[position] if record and position < len(record.outputs) else None
        if found := _RESULT_NAME.fullmatch(reference):
            record = await self._find_job(account_id, f"job_{UUID(found[1]).hex}")
            named = name_outputs(record) if record else []
            return next((item.output for item in named if item.name == found[2]), None)
        return None

    async def _find_job(self, account_id: str, job_id: str) -> JobRecord | None:
        record = await self.jobs.find_job(job_id)
        if record is None or record.job.account_id != account_id or record.job.removed_at is not None:
            return None
        is_done = record.job.status is JobStatus.SUCCEEDED and not self.expiry.is_expired(record.job)
        return record if is_done and record.job.model == OWN_GRAPH_ID else None
