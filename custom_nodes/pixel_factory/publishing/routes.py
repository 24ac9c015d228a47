"""Routes on ComfyUI's server: publish a graph, test a draft, list models, and open one.

    GET  /pixelfactory/status                 whether the service is configured
    GET  /pixelfactory/models                 the models of the service
    POST /pixelfactory/models                 check or publish a graph
    GET  /pixelfactory/models/{id}/workflow   a model as a workflow
    POST /pixelfactory/models/{id}/test       run a model once

The service's answers are passed on with their status. Requests need the header of our page: other sites may
not send it, even where ComfyUI allows requests from other origins, so that they cannot use the author's key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib import import_module
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from .connection import NotConfigured, describe_risk, read_connection, settings_file
from .example_files import read_example_files, save_input_files
from .link_types import with_link_types
from .origins import find_pack_origins
from .results import fetch_results
from .weights import find_weights

PAGE_HEADER = "X-Pixel-Factory-Page"
#: Fields of a publish request that the page sets; `packs` and `weights` are added here.
_PAGE_FIELDS = (
    "id", "workflow", "prompt", "object_info", "manifest", "dry_run", "publish", "replace",
)  # fmt: skip
#: Publishing checks every kind of request of a model; a run may wait for an instance.
_TIMEOUT = aiohttp.ClientTimeout(total=900, sock_connect=20)

Handler = Callable[[web.Request], Awaitable[web.Response]]


def register_routes() -> None:
    """Add the routes to ComfyUI's server. Without one, as in a script that only reads nodes, do nothing."""
    try:
        server = import_module("server")
    except ImportError:
        return
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    if instance is None:
        return
    routes = instance.routes
    routes.get("/pixelfactory/status")(_for_our_page(show_status))
    routes.get("/pixelfactory/models")(_for_our_page(list_models))
    routes.post("/pixelfactory/models")(_for_our_page(publish_model))
    routes.get("/pixelfactory/models/{id}/workflow")(_for_our_page(open_model))
    routes.post("/pixelfactory/models/{id}/test")(_for_our_page(test_model))


def _for_our_page(handler: Handler) -> Handler:
    """Reject requests of other pages, and answer exceptions with an error."""

    async def handle(request: web.Request) -> web.Response:
        if PAGE_HEADER not in request.headers:
            return _error(
                403, f"Requests need the header {PAGE_HEADER}, which only ComfyUI's own page sends."
            )
        try:
            return await handler(request)
        except NotConfigured as error:
            return _error(503, str(error), code="not_configured")
        except json.JSONDecodeError as error:
            return _error(400, f"The body must be JSON: {error}")
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            return _error(502, f"The service at {read_connection().url} does not answer: {reason}")

    return handle


def _error(status: int, message: str, code: str = "pixel_factory_pack") -> web.Response:
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


async def show_status(request: web.Request) -> web.Response:
    """Answer whether the service is configured, where, and what to do if not; never the key."""
    answer = {
        "configured": True,
        "url": "",
        "message": describe_risk(),
        "settings_file": str(settings_file()),
    }
    try:
        answer["url"] = read_connection().url
    except NotConfigured as error:
        answer |= {"configured": False, "message": str(error)}
    return web.json_response(answer)


async def list_models(request: web.Request) -> web.Response:
    """List the models that the author may call, with the author's drafts; with an admin token, all."""
    is_key = read_connection().key.startswith("pk-")
    return await _forward("GET", "/v1/models" if is_key else "/admin/v1/models")


async def open_model(request: web.Request) -> web.Response:
    """Answer with a model as a workflow, and write the files that it loads into the input folder."""
    response = await _forward("GET", f"/admin/v1/models/{_model_id(request)}/workflow")
    if response.status != HTTPStatus.OK or not isinstance(response.body, bytes):
        return response
    answer = dict(_as_mapping(json.loads(response.body)))
    try:
        files = await asyncio.to_thread(save_input_files, answer.pop("files", []))
    except OSError as error:
        return _error(500, f"The files of the model cannot be written into ComfyUI's input folder: {error}")
    files["missing"] = answer.pop("missing_files", []) + files.pop("refused")
    return web.json_response(answer | {"input_files": files})


async def publish_model(request: web.Request) -> web.Response:
    """Add the origins of packs and the digests of weights to a graph, and send it to the service."""
    given = await _read_object(request)
    body = {name: given[name] for name in _PAGE_FIELDS if name in given}
    prompt, object_info = (_as_mapping(body.get(name)) for name in ("prompt", "object_info"))
    classes = {str(node.get("class_type")) for node in prompt.values() if isinstance(node, dict)}
    body["packs"] = find_pack_origins(classes)
    body["object_info"] = await asyncio.to_thread(with_link_types, object_info)
    # Digests of large files take minutes: they are not needed to check a graph.
    compute = not body.get("dry_run")
    if compute:
        body["example_files"] = await asyncio.to_thread(read_example_files, prompt)
    body["weights"] = await asyncio.to_thread(find_weights, prompt, object_info, compute=compute)
    return await _forward("POST", "/admin/v1/models", body)


async def test_model(request: web.Request) -> web.Response:
    """Run a draft, or the live model, and fetch its results."""
    body = {"params": _as_mapping((await _read_object(request)).get("params"))}
    response = await _forward("POST", f"/admin/v1/models/{_model_id(request)}/test", body)
    if response.status != HTTPStatus.OK or not isinstance(response.body, bytes):
        return response
    job = _as_mapping(json.loads(response.body))
    return web.json_response({**job, "files": await fetch_results(job)})


def _model_id(request: web.Request) -> str:
    return quote(request.match_info["id"], safe="")


async def _read_object(request: web.Request) -> Mapping[str, Any]:
    return _as_mapping(await request.json())


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


async def _forward(method: str, path: str, body: Mapping[str, Any] | None = None) -> web.Response:
    """Send a request to the service and pass its answer on. Redirects are not followed: they could lead the
    key to another host."""
    service = read_connection()
    async with (
        aiohttp.ClientSession(headers=service.headers, timeout=_TIMEOUT) as client,
        client.request(method, service.url + path, json=body, allow_redirects=False) as response,
    ):
        data = await response.read()
        if response.content_type == "application/json":
            return web.Response(body=data, status=response.status, content_type="application/json")
        text = data[:200].decode("utf-8", "replace")
        return _error(502, f"{service.url} answered {response.status} without JSON: {text}")
