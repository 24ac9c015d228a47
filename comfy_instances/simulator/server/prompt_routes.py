"""Routes to queue, list, interrupt and delete prompts."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from comfy_instances.simulator.execution.prompt_queue import QueuedPrompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.files import has_input_file
from comfy_instances.simulator.instance import SimulatedInstance, now_milliseconds
from comfy_instances.simulator.validation import refusals
from comfy_instances.simulator.validation.validation import ValidationResult, validate_graph

#: Credentials that a request may contain; no response includes them.
SENSITIVE_EXTRA_DATA_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


class PromptRoutes:
    def __init__(self, instance: SimulatedInstance) -> None:
        self._instance = instance

    async def queue_info(self, request: web.Request) -> web.Response:
        return web.json_response(self._instance.queue_info())

    async def post_prompt(self, request: web.Request) -> web.Response:
        """Validate and queue a graph. A body that is malformed JSON gets a 500, as in ComfyUI."""
        body = await request.json()
        if isinstance(body, list):
            body = {}
        number = self._queue_number(body)
        if "prompt" not in body:
            return _validation_error_response(ValidationResult(refusals.no_prompt()))
        prompt_id = _parse_prompt_id(body.get("prompt_id"))
        if prompt_id is None:
            return _validation_error_response(ValidationResult(refusals.invalid_prompt_id()))
        verdict = self._validate_graph(body["prompt"], body.get("partial_execution_targets"))
        if verdict.error is not None:
            return _validation_error_response(verdict)
        extra_data = {
            key: value
            for key, value in body.get("extra_data", {}).items()
            if key not in SENSITIVE_EXTRA_DATA_KEYS
        }
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        self._instance.queue.put(
            QueuedPrompt(
                number=number,
                prompt_id=prompt_id,
                graph=body["prompt"],
                extra_data=extra_data | {"create_time": now_milliseconds()},
                outputs=verdict.outputs,
            )
        )
        response = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return web.json_response(response)

    def _queue_number(self, body: dict[str, Any]) -> float:
        if "number" in body:
            return float(body["number"])
        return self._instance.next_queue_number(front=bool(body.get("front")))

    def _validate_graph(self, graph: dict[str, Any], targets: list[str] | None) -> ValidationResult:
        folders = self._instance.options.folders
        verdict = validate_graph(
            graph, self._instance.facts, has_file=lambda name: has_input_file(folders, name), targets=targets
        )
        if verdict.error is None and self._instance.faults.consume(Fault.REJECT):
            return _simulated_rejection(graph, verdict.outputs)
        return verdict

    async def get_queue(self, request: web.Request) -> web.Response:
        queue = self._instance.queue
        running = [queue.running.row] if queue.running else []
        rows = {"queue_running": running, "queue_pending": [prompt.row for prompt in queue.pending]}
        return web.json_response(rows)

    async def update_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._instance.queue.clear()
        for prompt_id in body.get("delete", ()):
            self._instance.queue.delete(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        self._instance.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def free_memory(self, request: web.Request) -> web.Response:
        """Respond at once; free the memory after the running prompt ends."""
        body = await request.json()
        if body.get("unload_models") or body.get("free_memory"):
            self._instance.worker.unload_models()
        if body.get("free_memory"):
            self._instance.worker.clear_cache()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        limits = {key: int(request.query[key]) for key in ("max_items", "offset") if key in request.query}
        return web.json_response(self._instance.queue.list_history(**limits))

    async def get_history_entry(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        history = self._instance.queue.history
        return web.json_response({prompt_id: history[prompt_id]} if prompt_id in history else {})

    async def update_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._instance.queue.history.clear()
        for prompt_id in body.get("delete", ()):
            self._instance.queue.history.pop(prompt_id, None)
        return web.Response()


def _parse_prompt_id(given: Any) -> str | None:
    """Return the given id if it is a canonical UUID, a new id if none is given, else None."""
    if given is None:
        return str(uuid4())
    try:
        return str(given) if str(UUID(given)) == given else None
    except (ValueError, AttributeError, TypeError):
        return None


def _validation_error_response(result: ValidationResult) -> web.Response:
    return web.json_response({"error": result.error, "node_errors": result.node_errors}, status=400)


def _simulated_rejection(graph: dict[str, Any], outputs: list[str]) -> ValidationResult:
    """Return a rejection of a valid graph, as from an instance that lacks a weight file."""
    reason = refusals.custom_validation_failed("simulated", "rejected, as asked for")
    blamed = {
        node_id: {
            "errors": [reason],
            "dependent_outputs": [node_id],
            "class_type": graph[node_id]["class_type"],
        }
        for node_id in outputs
    }
    return ValidationResult(refusals.prompt_outputs_failed_validation([reason]), [], blamed)
