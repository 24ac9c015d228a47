"""Routes under `/api/jobs`: list, get and cancel prompts, with filters and pagination."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from aiohttp import web

from comfy_instances.simulator.instance import SimulatedInstance
from comfy_instances.simulator.server import job_rows


class JobRoutes:
    def __init__(self, instance: SimulatedInstance) -> None:
        self._instance = instance

    async def list_jobs(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = [part.strip().lower() for part in query.get("status", "").split(",") if part.strip()]
        if unknown := [status for status in wanted if status not in job_rows.JOB_STATUSES]:
            return _bad_request(f"Invalid status value(s): {', '.join(unknown)}.")
        sort_by = query.get("sort_by", "created_at").lower()
        if sort_by not in ("created_at", "execution_duration"):
            return _bad_request("sort_by must be 'created_at' or 'execution_duration'")
        order = query.get("sort_order", "desc").lower()
        if order not in ("asc", "desc"):
            return _bad_request("sort_order must be 'asc' or 'desc'")
        try:
            limit = int(query["limit"]) if "limit" in query else None
            offset = max(0, int(query.get("offset", 0)))
        except ValueError:
            return _bad_request("limit and offset must be an integer")
        if limit is not None and limit <= 0:
            return _bad_request("limit must be a positive integer")
        rows = [
            row
            for row in job_rows.list_job_rows(self._instance.queue)
            if not wanted or row["status"] in wanted
        ]
        if "workflow_id" in query:
            rows = [row for row in rows if row.get("workflow_id") == query["workflow_id"]]
        key = (
            job_rows.execution_milliseconds
            if sort_by == "execution_duration"
            else lambda row: row["create_time"]
        )
        rows.sort(key=key, reverse=order == "desc")
        page = rows[offset:][:limit]
        more = offset + len(page) < len(rows)
        pagination = {"offset": offset, "limit": limit, "total": len(rows), "has_more": more}
        return web.json_response({"jobs": page, "pagination": pagination})

    async def get_job(self, request: web.Request) -> web.Response:
        row = job_rows.find_job(self._instance.queue, request.match_info["job_id"])
        if row is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(row)

    async def cancel_job(self, request: web.Request) -> web.Response:
        return web.json_response({"cancelled": self._cancel_prompt(request.match_info["job_id"])})

    async def cancel_jobs(self, request: web.Request) -> web.Response:
        body: Any = await request.json()
        job_ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(job_ids, list):
            return _bad_request("job_ids must be a list")
        invalid = [job_id for job_id in job_ids if not _is_uuid(job_id)]
        if invalid:
            return _bad_request("job_ids contains invalid id(s)", invalid_ids=[str(one) for one in invalid])
        done = [self._cancel_prompt(job_id) for job_id in job_ids]
        return web.json_response({"cancelled": any(done)})

    def _cancel_prompt(self, prompt_id: str) -> bool:
        return self._instance.interrupt(prompt_id) or self._instance.queue.delete(prompt_id)


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _bad_request(message: str, **extra_fields: Any) -> web.Response:
    return web.json_response({"error": message, **extra_fields}, status=400)
