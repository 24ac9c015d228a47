"""Routes on ComfyUI's server for the service that runs prompts on it.

    GET    /pixelfactory/delivery                        version and load
    POST   /pixelfactory/delivery/check                  whether this server reaches object storage
    POST   /pixelfactory/delivery/{prompt_id}            grant requests, and wait for a change
    GET    /pixelfactory/delivery/{prompt_id}/{number}   the bytes of a file that was not uploaded
    DELETE /pixelfactory/delivery/{prompt_id}            forget the results, and let go of input files
    POST   /pixelfactory/ended                           the same for several, and delete their history
    POST   /pixelfactory/inputs/{prompt_id}              fetch input files, and keep them for a prompt
    POST   /pixelfactory/previews/{prompt_id}            switch the previews of a prompt on or off

Requests need a header that pages of other sites cannot send. A client that can send it can queue prompts too,
as on any ComfyUI; through these routes only results of known prompts leave, and only files with a known
digest enter.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import aiohttp
from aiohttp import web

from . import garbage, previews, prompt_ends
from .courier import Courier, get_courier
from .inputs import InputFailed, get_inputs
from .png import fast_deflate
from .state import PROTOCOL, Grant

log = logging.getLogger(__name__)

HEADER = "X-Pixel-Factory-Delivery"
#: Longest time that a request waits for a change, in seconds.
LONGEST_WAIT = 20.0
_ERROR_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")
#: How long the event loop is given to send a message that is queued, in seconds.
SENT_SECONDS = 0.001
_CHECK_TIMEOUT = aiohttp.ClientTimeout(total=4)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def register_routes() -> None:
    """Add the routes to ComfyUI's server, if there is one."""
    try:
        instance = import_module("server").PromptServer.instance
    except (ImportError, AttributeError):
        return
    if instance is None:
        return
    routes = instance.routes
    routes.get("/pixelfactory/delivery")(_for_service(describe))
    routes.post("/pixelfactory/delivery/check")(_for_service(check_storage))
    routes.post("/pixelfactory/delivery/{prompt_id}")(_for_service(follow))
    routes.get("/pixelfactory/delivery/{prompt_id}/{number}")(_for_service(fetch))
    routes.delete("/pixelfactory/delivery/{prompt_id}")(_for_service(release))
    routes.post("/pixelfactory/ended")(_for_service(_forgetter(instance.prompt_queue.delete_history_item)))
    routes.post("/pixelfactory/inputs/{prompt_id}")(_for_service(fetch_inputs))
    routes.post("/pixelfactory/previews/{prompt_id}")(_for_service(set_previews))
    previews.install()
    prompt_ends.install(instance.prompt_queue, _end_soon(instance.loop))
    instance.app.on_startup.append(garbage.exempt_modules)
    if fast_deflate() is None:
        log.warning("pixel_factory: PNG files are compressed by zlib, which is slower: pip install isal")


def _end_soon(loop: asyncio.AbstractEventLoop) -> Callable[[str], None]:
    """Return a function that tells the courier of a prompt's end once the loop has sent its message."""

    def end_soon(prompt_id: str) -> None:
        if get_courier.cache_info().currsize:  # there are results
            loop.call_soon_threadsafe(loop.call_later, SENT_SECONDS, get_courier().end_prompt, prompt_id)

    return end_soon


def _for_service(handler: Handler) -> Handler:
    """Reject requests of pages; answer malformed ones with 400."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if HEADER not in request.headers:
            return _error(403, f"the request needs the header {HEADER}, which only a service sends")
        try:
            return await handler(request)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return _error(400, f"malformed request: {type(error).__name__}")

    return handle


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


async def describe(request: web.Request) -> web.Response:
    """Return the protocol's version, the load of courier and input cache, and what makes them fast."""
    body = {
        "protocol": PROTOCOL,
        **get_courier().describe(),
        "inputs": get_inputs().describe(),
        "png": "zlib" if fast_deflate() is None else "isal",
        "exempt_objects": gc.get_freeze_count(),
    }
    return web.json_response(body)


async def check_storage(request: web.Request) -> web.Response:
    """Return the status and the error code with which object storage answers, 0 if it does not."""
    url = str((await request.json())["url"])
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an address")
    try:
        async with (
            aiohttp.ClientSession(timeout=_CHECK_TIMEOUT) as client,
            client.get(url, allow_redirects=False) as response,
        ):
            code = _ERROR_CODE.search(await response.content.read(4096))
            return web.json_response({"status": response.status, "code": code[1].decode() if code else ""})
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return web.json_response({"status": 0})


async def follow(request: web.Request) -> web.Response:
    """Take grants, wait until something changes after the given revision, and return the state."""
    prompt_id = request.match_info["prompt_id"]
    body = await request.json()
    grants = {int(number): _parse_grant(row) for number, row in (body.get("grants") or {}).items()}
    after, wait = int(body["after"]), min(LONGEST_WAIT, float(body.get("wait", 0)))
    courier = get_courier()
    if grants:
        courier.grant(prompt_id, grants)
    await _wait_for_change(courier, prompt_id, after, wait)
    found = courier.deliveries.snapshot(prompt_id)
    if found is None:
        return _error(404, "no results of this prompt")
    return web.json_response(found)


def _parse_grant(row: Mapping[str, Any]) -> Grant:
    return Grant(
        str(row["url"]), {str(name): str(value) for name, value in (row.get("headers") or {}).items()}
    )


async def _wait_for_change(courier: Courier, prompt_id: str, after: int, wait: float) -> None:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    if wait > 0 and courier.deliveries.listen(prompt_id, after, wake):
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(changed.wait(), wait)


async def fetch(request: web.Request) -> web.Response:
    """Return the bytes of a file that the service takes itself."""
    found = get_courier().fetch(request.match_info["prompt_id"], int(request.match_info["number"]))
    if found is None or not found.data:
        return _error(404, "no such file")
    return web.Response(body=found.data, content_type=found.content_type)


async def release(request: web.Request) -> web.Response:
    """Forget the results of a prompt; its input files may be deleted from the cache."""
    return web.json_response({"released": _release(request.match_info["prompt_id"])})


def _release(prompt_id: str) -> bool:
    get_inputs().release(prompt_id)
    return get_courier().release(prompt_id)


def _forgetter(delete_history: Callable[[str], None]) -> Handler:
    """Return a handler that releases prompts and deletes their entries of ComfyUI's history."""

    async def forget(request: web.Request) -> web.Response:
        prompts = [str(prompt_id) for prompt_id in (await request.json())["prompts"]]
        released = 0
        for prompt_id in prompts:
            released += _release(prompt_id)
            delete_history(prompt_id)
        return web.json_response({"released": released})

    return forget


async def fetch_inputs(request: web.Request) -> web.Response:
    """Fetch input files and keep them for a prompt; return their names."""
    rows = (await request.json())["files"]
    try:
        names = await get_inputs().fetch(request.match_info["prompt_id"], rows)
    except InputFailed as error:
        return _error(502, str(error))
    return web.json_response({"names": names})


async def set_previews(request: web.Request) -> web.Response:
    """Switch previews of a prompt on or off."""
    previews.set_listening(request.match_info["prompt_id"], bool((await request.json())["listening"]))
    return web.json_response({})
