"""The web application of a simulated instance, with its route table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from comfy_instances.protocol.delivery import FILES_CLASS, IMAGES_CLASS
from comfy_instances.protocol.node_facts import load_core_node_facts, load_pack_node_facts
from comfy_instances.simulator.instance import SimulatedInstance
from comfy_instances.simulator.options import SimulatorOptions
from comfy_instances.simulator.server.delivery_routes import DeliveryRoutes
from comfy_instances.simulator.server.file_routes import FileRoutes
from comfy_instances.simulator.server.info_routes import InfoRoutes
from comfy_instances.simulator.server.job_routes import JobRoutes
from comfy_instances.simulator.server.prompt_routes import PromptRoutes
from comfy_instances.simulator.server.websocket_hub import FEATURE_FLAGS
from comfy_instances.tasks import spawn

log = logging.getLogger(__name__)
#: What handlers raise on bodies of another shape than they expect; ComfyUI's check as little.
_FAILURES_OF_HANDLERS = (ValueError, TypeError, AttributeError, LookupError, AssertionError)
_SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
INSTANCE_KEY = web.AppKey("instance", SimulatedInstance)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(options: SimulatorOptions) -> web.Application:
    """Create the application and start the instance's worker. Requires a running event loop."""
    options.folders.prepare()
    facts = {**load_core_node_facts(), **load_pack_node_facts()}
    if not options.delivers:
        facts = {name: entry for name, entry in facts.items() if name not in (IMAGES_CLASS, FILES_CLASS)}
    instance = SimulatedInstance(options, facts)
    limit = FEATURE_FLAGS["max_upload_size"]
    middlewares = [_unreadable_request_middleware, _same_origin_middleware]
    application = web.Application(client_max_size=limit, middlewares=middlewares)
    application[INSTANCE_KEY] = instance
    application.add_routes(_routes(instance))
    application.cleanup_ctx.append(_run_background_tasks)
    return application


def _routes(instance: SimulatedInstance) -> list[web.RouteDef]:
    prompts, jobs = PromptRoutes(instance), JobRoutes(instance)
    files, info = FileRoutes(instance.options.folders), InfoRoutes(instance)
    get, post = web.get, web.post
    everywhere = [
        get("/ws", instance.hub.handle_websocket),
        get("/prompt", prompts.queue_info),
        post("/prompt", prompts.post_prompt),
        get("/queue", prompts.get_queue),
        post("/queue", prompts.update_queue),
        post("/interrupt", prompts.interrupt),
        post("/free", prompts.free_memory),
        get("/history", prompts.get_history),
        post("/history", prompts.update_history),
        get("/history/{prompt_id}", prompts.get_history_entry),
        get("/view", files.view),
        post("/upload/image", files.upload_image),
        post("/upload/mask", files.upload_mask),
        get("/object_info", info.object_info),
        get("/object_info/{node_class}", info.node_info),
        get("/system_stats", info.system_stats),
        get("/features", info.features),
        get("/models", info.model_folders),
        get("/models/{folder}", info.models),
        get("/view_metadata/{folder}", info.view_metadata),
        get("/embeddings", info.embeddings),
        get("/extensions", info.extensions),
        get("/", info.root),
        get("/api/jobs", jobs.list_jobs),
        get("/api/jobs/{job_id}", jobs.get_job),
        post("/api/jobs/cancel", jobs.cancel_jobs),
        post("/api/jobs/{job_id}/cancel", jobs.cancel_job),
    ]
    prefixed = [web.route(route.method, "/api" + route.path, route.handler) for route in everywhere]
    ours = [get("/simulator/faults", info.list_faults), post("/simulator/faults", info.arm_fault)]
    # As in ComfyUI, it is not below /api.
    ours.append(get("/internal/logs/raw", info.raw_log))
    if instance.deliveries is not None:
        ours += DeliveryRoutes(instance.deliveries, instance.queue.history).routes()
    return [*everywhere, *prefixed, *ours]


async def _run_background_tasks(application: web.Application) -> AsyncIterator[None]:
    instance = application[INSTANCE_KEY]
    tasks = [
        spawn(instance.hub.deliver_messages(), "simulator messages"),
        spawn(instance.run_queued_prompts(), "simulator queue"),
    ]
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    if instance.deliveries is not None:
        await instance.deliveries.close()


@web.middleware
async def _same_origin_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject cross-origin requests to an instance on the loopback interface with 403."""
    origin = urlsplit(request.headers.get("Origin", ""))
    host = urlsplit(f"//{request.host}")
    if origin.netloc and _is_loopback(host.hostname):
        same = origin.netloc == host.netloc if origin.port and host.port else origin.hostname == host.hostname
        if not same:
            return web.Response(status=403)
    return await handler(request)


@web.middleware
async def _unreadable_request_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request that ComfyUI's handlers fail on with 500, as ComfyUI does, and log one line."""
    try:
        return await handler(request)
    except _FAILURES_OF_HANDLERS as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("%s %s failed, as it does in ComfyUI: %s", request.method, request.path, reason)
        response = web.Response(status=500, text=_SERVER_ERROR)
        response.force_close()
        return response


def _is_loopback(hostname: str | None) -> bool:
    try:
        return hostname == "localhost" or ip_address(hostname or "").is_loopback
    except ValueError:
        return False
