"""The web application of a simulated instance: all routes on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from comfy_instances.protocol.node_facts import load_core_node_facts, load_pack_node_facts
from comfy_instances.simulator.instance import Instance
from comfy_instances.simulator.options import Options
from comfy_instances.simulator.server.file_routes import FileRoutes
from comfy_instances.simulator.server.info_routes import InfoRoutes
from comfy_instances.simulator.server.job_routes import JobRoutes
from comfy_instances.simulator.server.prompt_routes import PromptRoutes
from comfy_instances.simulator.server.websocket_hub import FEATURES

INSTANCE = web.AppKey("instance", Instance)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_application(options: Options) -> web.Application:
    """To be called on a running event loop: the instance's worker starts at once."""
    options.folders.prepare()
    instance = Instance(options, {**load_core_node_facts(), **load_pack_node_facts()})
    limit = FEATURES["max_upload_size"]
    application = web.Application(client_max_size=limit, middlewares=[_own_origin_only])
    application[INSTANCE] = instance
    application.add_routes(_routes(instance))
    application.cleanup_ctx.append(_at_work)
    return application


def _routes(instance: Instance) -> list[web.RouteDef]:
    prompts, jobs = PromptRoutes(instance), JobRoutes(instance)
    files, info = FileRoutes(instance.options.folders), InfoRoutes(instance)
    get, post = web.get, web.post
    everywhere = [
        get("/ws", instance.hub.serve),
        get("/prompt", prompts.queue_info),
        post("/prompt", prompts.post),
        get("/queue", prompts.queue),
        post("/queue", prompts.change_queue),
        post("/interrupt", prompts.interrupt),
        post("/free", prompts.free),
        get("/history", prompts.history),
        post("/history", prompts.change_history),
        get("/history/{prompt_id}", prompts.history_entry),
        get("/view", files.view),
        post("/upload/image", files.upload_image),
        post("/upload/mask", files.upload_mask),
        get("/object_info", info.object_info),
        get("/object_info/{node_class}", info.node_info),
        get("/system_stats", info.system_stats),
        get("/features", info.features),
        get("/models", info.model_folders),
        get("/models/{folder}", info.models),
        get("/embeddings", info.embeddings),
        get("/extensions", info.extensions),
        get("/", info.root),
        get("/api/jobs", jobs.list),
        get("/api/jobs/{job_id}", jobs.get),
        post("/api/jobs/cancel", jobs.cancel_many),
        post("/api/jobs/{job_id}/cancel", jobs.cancel),
    ]
    prefixed = [web.route(route.method, "/api" + route.path, route.handler) for route in everywhere]
    ours = [get("/simulator/faults", info.faults), post("/simulator/faults", info.arm_fault)]
    return [*everywhere, *prefixed, *ours]


async def _at_work(application: web.Application) -> AsyncIterator[None]:
    instance = application[INSTANCE]
    tasks = [asyncio.create_task(instance.hub.publish()), asyncio.create_task(instance.work())]
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@web.middleware
async def _own_origin_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page from elsewhere may not talk to an instance on the loopback interface."""
    origin = urlsplit(request.headers.get("Origin", ""))
    host = urlsplit(f"//{request.host}")
    if origin.netloc and _is_loopback(host.hostname):
        same = origin.netloc == host.netloc if origin.port and host.port else origin.hostname == host.hostname
        if not same:
            return web.Response(status=403)
    return await handler(request)


def _is_loopback(name: str | None) -> bool:
    try:
        return name == "localhost" or ip_address(name or "").is_loopback
    except ValueError:
        return False
