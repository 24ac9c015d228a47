"""Posting, watching, stopping and forgetting prompts."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from comfy_instances.simulator.execution.prompt_queue import Prompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.files import has_input
from comfy_instances.simulator.instance import Instance, milliseconds
from comfy_instances.simulator.validation import refusals
from comfy_instances.simulator.validation.validation import Verdict, validate

#: Tokens that a caller may send along and that nobody gets to see.
SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


class PromptRoutes:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def queue_info(self, request: web.Request) -> web.Response:
        return web.json_response(self._instance.queue_info())

    async def post(self, request: web.Request) -> web.Response:
        """Accept a graph. What is not even JSON of the right shape is a 500, as in the real one."""
        body = await request.json()
        if isinstance(body, list):
            body = {}
        number = self._number(body)
        if "prompt" not in body:
            return _refused(Verdict(refusals.no_prompt()))
        prompt_id = _prompt_id(body.get("prompt_id"))
        if prompt_id is None:
            return _refused(Verdict(refusals.bad_prompt_id()))
        verdict = self._verdict(body["prompt"], body.get("partial_execution_targets"))
        if verdict.error is not None:
            return _refused(verdict)
        extra_data = {key: value for key, value in body.get("extra_data", {}).items() if key not in SECRETS}
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        self._instance.queue.put(
            Prompt(
                number=number,
                prompt_id=prompt_id,
                graph=body["prompt"],
                extra_data=extra_data | {"create_time": milliseconds()},
                outputs=verdict.outputs,
            )
        )
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return web.json_response(answer)

    def _number(self, body: dict[str, Any]) -> float:
        if "number" in body:
            return float(body["number"])
        return self._instance.next_number(front=bool(body.get("front")))

    def _verdict(self, graph: dict[str, Any], targets: list[str] | None) -> Verdict:
        folders = self._instance.options.folders
        verdict = validate(
            graph, self._instance.facts, has_file=lambda name: has_input(folders, name), targets=targets
        )
        if verdict.error is None and self._instance.faults.strike(Fault.REJECT):
            return _rejected(graph, verdict.outputs)
        return verdict

    async def queue(self, request: web.Request) -> web.Response:
        queue = self._instance.queue
        running = [queue.running.row] if queue.running else []
        rows = {"queue_running": running, "queue_pending": [prompt.row for prompt in queue.waiting]}
        return web.json_response(rows)

    async def change_queue(self, request: web.Request) -> web.Response:
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

    async def free(self, request: web.Request) -> web.Response:
        """Answered at once, done when the running prompt has ended."""
        body = await request.json()
        if body.get("unload_models") or body.get("free_memory"):
            self._instance.worker.unload()
        if body.get("free_memory"):
            self._instance.worker.forget()
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        limits = {key: int(request.query[key]) for key in ("max_items", "offset") if key in request.query}
        return web.json_response(self._instance.queue.recent(**limits))

    async def history_entry(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        history = self._instance.queue.history
        return web.json_response({prompt_id: history[prompt_id]} if prompt_id in history else {})

    async def change_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._instance.queue.history.clear()
        for prompt_id in body.get("delete", ()):
            self._instance.queue.history.pop(prompt_id, None)
        return web.Response()


def _prompt_id(given: Any) -> str | None:
    """The caller's id if it is a UUID as UUIDs are written, a new one if there is none, else None."""
    if given is None:
        return str(uuid4())
    try:
        return str(given) if str(UUID(given)) == given else None
    except (ValueError, AttributeError, TypeError):
        return None


def _refused(verdict: Verdict) -> web.Response:
    return web.json_response({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)


def _rejected(graph: dict[str, Any], outputs: list[str]) -> Verdict:
    """A good graph turned down, as by an instance that lacks a file the others have."""
    reason = refusals.failed_own_check("simulated", "rejected, as asked for")
    blamed = {
        node_id: {
            "errors": [reason],
            "dependent_outputs": [node_id],
            "class_type": graph[node_id]["class_type"],
        }
        for node_id in outputs
    }
    return Verdict(refusals.outputs_failed([reason]), [], blamed)
