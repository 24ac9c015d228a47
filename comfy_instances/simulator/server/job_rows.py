"""The rows of `/api/jobs`: one for each pending, running or finished prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_instances.simulator.execution.prompt_queue import PromptQueue, QueuedPrompt

JOB_STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")

#: Output keys whose items can be previewed.
_PREVIEWABLE_KEYS = frozenset({"images", "video", "audio", "3d", "text"})
_STATUS_BY_FINAL_EVENT = {
    "execution_success": "completed",
    "execution_error": "failed",
    "execution_interrupted": "cancelled",
}
#: Maximum number of characters of a text in a row.
_MAX_PREVIEW_CHARACTERS = 1024

JobRow = dict[str, Any]


def list_job_rows(queue: PromptQueue) -> Iterator[JobRow]:
    """Return the rows of all prompts: running, pending, finished."""
    if queue.running is not None:
        yield unfinished_job_row(queue.running, "in_progress")
    for prompt in queue.pending:
        yield unfinished_job_row(prompt, "pending")
    for entry in queue.history.values():
        yield finished_job_row(entry)


def find_job(queue: PromptQueue, prompt_id: str) -> JobRow | None:
    """Return the detailed row of one prompt; None if the id is unknown."""
    if prompt_id in queue.history:
        entry = queue.history[prompt_id]
        _, _, graph, extra_data, _ = entry["prompt"]
        workflow = {"prompt": graph, "extra_data": extra_data}
        details = {"outputs": entry["outputs"], "execution_status": entry["status"], "workflow": workflow}
        return finished_job_row(entry) | details
    if queue.running is not None and queue.running.prompt_id == prompt_id:
        return unfinished_job_row(queue.running, "in_progress")
    waiting = (prompt for prompt in queue.pending if prompt.prompt_id == prompt_id)
    return next((unfinished_job_row(prompt, "pending") for prompt in waiting), None)


def unfinished_job_row(prompt: QueuedPrompt, status: str) -> JobRow:
    row = _common_fields(prompt.row, status)
    return row | {"outputs_count": 0, "previewable_outputs_count": 0}


def finished_job_row(history_entry: Mapping[str, Any]) -> JobRow:
    times: dict[str, Any] = {}
    status = "completed"
    for event, data in history_entry["status"]["messages"]:
        if event == "execution_start":
            times["execution_start_time"] = data["timestamp"]
        elif event in _STATUS_BY_FINAL_EVENT:
            times["execution_end_time"] = data["timestamp"]
            status = _STATUS_BY_FINAL_EVENT[event]
            if status == "failed":
                times["execution_error"] = data
    items = [*_output_items(history_entry["outputs"])]
    files = [item for item in items if isinstance(item[2], dict)]
    row = _common_fields(history_entry["prompt"], status) | times
    row["outputs_count"] = len(files)
    row["previewable_outputs_count"] = sum(key in _PREVIEWABLE_KEYS for _, key, _ in files)
    preview = _select_preview(items)
    return row | ({"preview_output": preview} if preview else {})


def execution_milliseconds(row: JobRow) -> float:
    """Return how many milliseconds a finished prompt ran."""
    if "execution_end_time" not in row:
        return 0.0
    return float(row["execution_end_time"] - row["execution_start_time"])


def _common_fields(prompt: list[Any], status: str) -> JobRow:
    number, prompt_id, _, extra_data, _ = prompt
    row = {"id": prompt_id, "status": status, "priority": number, "create_time": extra_data["create_time"]}
    workflow = (extra_data.get("extra_pnginfo") or {}).get("workflow") or {}
    return row | ({"workflow_id": workflow["id"]} if "id" in workflow else {})


def _output_items(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield (node, key, item) for every output item."""
    for node_id, keys in outputs.items():
        for key, items in keys.items():
            if key != "animated" and isinstance(items, list):
                yield from ((node_id, key, item) for item in items)


def _select_preview(items: list[tuple[str, str, Any]]) -> JobRow | None:
    """Select the preview of a job: a stored image, else a temporary image, else a text."""
    files = [item for item in items if isinstance(item[2], dict) and item[1] in _PREVIEWABLE_KEYS]
    files.sort(key=lambda item: item[2].get("type") != "output")
    for node_id, key, item in files:
        return {**item, "nodeId": node_id, "mediaType": key}
    for node_id, key, item in items:
        if key == "text":
            text = str(item)
            content = {"content": text[:_MAX_PREVIEW_CHARACTERS]} | (
                {"truncated": True} if len(text) > _MAX_PREVIEW_CHARACTERS else {}
            )
            return {**content, "nodeId": node_id, "mediaType": key}
    return None
