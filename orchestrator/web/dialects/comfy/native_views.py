"""Jobs as ComfyUI's own API shows them. Prompt ids are the UUIDs of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.own_graphs.model import OUTPUTS_PARAM
from orchestrator.own_graphs.result_names import NamedOutput, name_outputs
from orchestrator.web.dialects.comfy.graph_jobs import CLIENT_PARAM, failed_node, sent_graph
from orchestrator.web.dialects.ids import job_id_to_uuid

STATUS_NAMES = {
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}


def prompt_id(record: JobRecord) -> str:
    """Return the prompt id of a job."""
    return job_id_to_uuid(record.job.id)


def client_id(record: JobRecord) -> str:
    """Return the id of the client that sent the graph; empty if it named none."""
    return str(record.job.params.get(CLIENT_PARAM) or "")


def queue_item(record: JobRecord, number: int) -> list[Any]:
    """Return a job as an entry of the queue."""
    job = record.job
    extra = {"client_id": client_id(record), "create_time": milliseconds(job.created_at)}
    return [number, prompt_id(record), sent_graph(job), extra, list(job.params[OUTPUTS_PARAM])]


def history_entry(record: JobRecord, texts: dict[str, str]) -> dict[str, Any]:
    """Return a finished job as an entry of the history; `texts` are results by their keys."""
    job = record.job
    is_done = job.status is JobStatus.SUCCEEDED
    nodes = {id: {"node_id": id, "display_node": id, "parent_node": None, "real_node_id": id}
             for id in outputs_by_node(record, texts)}  # fmt: skip
    return {
        "prompt": queue_item(record, 0),
        "outputs": outputs_by_node(record, texts) if is_done else {},
        "status": {
            "status_str": "success" if is_done else "error",
            "completed": is_done,
            "messages": list(_messages(record)),
        },
        "meta": nodes if is_done else {},
    }


def _messages(record: JobRecord) -> Iterator[list[Any]]:
    job, id = record.job, prompt_id(record)
    yield ["execution_start", {"prompt_id": id, "timestamp": milliseconds(job.started_at or job.created_at)}]
    end = {"prompt_id": id, "timestamp": milliseconds(job.finished_at or job.created_at)}
    if job.status is JobStatus.SUCCEEDED:
        yield ["execution_success", end]
    elif job.status is JobStatus.CANCELLED:
        yield ["execution_interrupted", end | {"node_id": "", "node_type": "", "executed": []}]
    else:
        yield ["execution_error", end | execution_error(record)]


def execution_error(record: JobRecord) -> dict[str, Any]:
    """Return why a job failed, in the fields of ComfyUI's message."""
    error = record.job.error
    node, class_type = failed_node(record.job)
    return {
        "node_id": node or "",
        "node_type": class_type or "",
        "executed": [],
        "exception_message": error.message if error else "",
        "exception_type": error.code if error else "",
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }


def outputs_by_node(record: JobRecord, texts: dict[str, str]) -> dict[str, Any]:
    """Return results as ComfyUI's nodes report them."""
    found: dict[str, Any] = {}
    for named in name_outputs(record):
        key = named.key
        node = found.setdefault(named.node, {})
        text = texts.get(named.output.key)
        if key == "text" and text is not None:
            node.setdefault("text", []).append(text)
            if not named.is_file:
                continue
        node.setdefault("files" if key == "text" else key, []).append(file_ref(record, named))
        if named.output.content_type.startswith("video/") or (named.output.frames or 1) > 1:
            node["animated"] = [True]
    return found


def file_ref(record: JobRecord, named: NamedOutput) -> dict[str, str]:
    """Return how ComfyUI's clients name a result; the folder is the prompt id."""
    return {"filename": named.name, "subfolder": prompt_id(record), "type": "output"}


def job_row(record: JobRecord) -> dict[str, Any]:
    """Return a job as a row of `/api/jobs`."""
    job, named = record.job, name_outputs(record)
    row: dict[str, Any] = {
        "id": prompt_id(record),
        "status": STATUS_NAMES[job.status],
        "priority": 0,
        "create_time": milliseconds(job.created_at),
        "update_time": milliseconds(job.finished_at or job.started_at or job.created_at),
        "execution_start_time": milliseconds(job.started_at),
        "execution_end_time": milliseconds(job.finished_at),
        "outputs_count": len(named),
        "previewable_outputs_count": sum(
            item.output.content_type.startswith(("image/", "video/", "audio/")) for item in named
        ),
        "workflow_id": None,
    }
    if named:
        kind = named[0].output.content_type.partition("/")[0]
        media = kind if kind in ("video", "audio", "text") else named[0].key
        row["preview_output"] = file_ref(record, named[0]) | {"nodeId": named[0].node, "mediaType": media}
    if job.status is JobStatus.FAILED:
        row["execution_error"] = execution_error(record)
    return row


def milliseconds(moment: datetime | None) -> int | None:
    """Return a time as milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)
