"""The routes of our node pack on a simulated instance."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from comfy_instances.simulator.deliveries import PROTOCOL, InputRejected, SimulatedDeliveries

_HEADER = "X-Pixel-Factory-Delivery"
_ERROR_CODE = re.compile(rb"<Code>(\w{1,60})</Code>")


class DeliveryRoutes:
    """Handlers of `/pixelfactory/` delivery, ended, inputs and previews."""

    def __init__(self, deliveries: SimulatedDeliveries, history: MutableMapping[str, Any]) -> None:
        """`history` is that of the instance, by prompt id."""
        self._deliveries = deliveries
        self._history = history

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/pixelfactory/delivery", self.describe),
            web.post("/pixelfactory/delivery/check", self.check_storage),
            web.post("/pixelfactory/delivery/{prompt_id}", self.follow),
            web.get("/pixelfactory/delivery/{prompt_id}/{number}", self.fetch),
            web.delete("/pixelfactory/delivery/{prompt_id}", self.release),
            web.post("/pixelfactory/ended", self.forget),
            web.post("/pixelfactory/inputs/{prompt_id}", self.fetch_inputs),
            web.post("/pixelfactory/previews/{prompt_id}", self.set_previews),
        ]

    async def describe(self, request: web.Request) -> web.Response:
        """Return version and load."""
        _check(request)
        inputs = {"fetched": self._deliveries.inputs_fetched, "hits": self._deliveries.input_hits}
        states = self._deliveries.count_states()
        return web.json_response({"protocol": PROTOCOL, "states": states, "inputs": inputs})

    async def check_storage(self, request: web.Request) -> web.Response:
        """Return what object storage answers."""
        _check(request)
        url = URL(str((await request.json())["url"]), encoded=True)
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=4)) as http,
                http.get(url, allow_redirects=False) as response,
            ):
                code = _ERROR_CODE.search(await response.content.read(4096))
                found = {"status": response.status, "code": code[1].decode() if code else ""}
        except (aiohttp.ClientError, TimeoutError, OSError):
            found = {"status": 0, "code": ""}
        return web.json_response(found)

    async def follow(self, request: web.Request) -> web.Response:
        """Take grants and return the state after the next change."""
        _check(request)
        found = await self._deliveries.follow(request.match_info["prompt_id"], await request.json())
        return _unknown() if found is None else web.json_response(found)

    async def fetch(self, request: web.Request) -> web.Response:
        """Return the bytes of a file."""
        _check(request)
        number = int(request.match_info["number"])
        file = self._deliveries.fetch(request.match_info["prompt_id"], number)
        if file is None or not file.data:
            return _unknown()
        return web.Response(body=file.data, content_type=file.content_type)

    async def release(self, request: web.Request) -> web.Response:
        """Forget a prompt."""
        _check(request)
        return web.json_response({"released": self._deliveries.release(request.match_info["prompt_id"])})

    async def forget(self, request: web.Request) -> web.Response:
        """Forget prompts, and delete their entries of the history."""
        _check(request)
        prompts: list[str] = (await request.json())["prompts"]
        for prompt_id in prompts:
            self._history.pop(prompt_id, None)
        return web.json_response({"released": sum(map(self._deliveries.release, prompts))})

    async def fetch_inputs(self, request: web.Request) -> web.Response:
        """Fetch input files."""
        _check(request)
        rows: list[dict[str, Any]] = (await request.json())["files"]
        try:
            return web.json_response({"names": await self._deliveries.fetch_inputs(rows)})
        except InputRejected as error:
            return web.json_response({"error": str(error)}, status=502)

    async def set_previews(self, request: web.Request) -> web.Response:
        """Switch previews on or off."""
        _check(request)
        listening = bool((await request.json())["listening"])
        self._deliveries.listening[request.match_info["prompt_id"]] = listening
        return web.json_response({})


def _check(request: web.Request) -> None:
    if _HEADER not in request.headers:
        raise web.HTTPForbidden


def _unknown() -> web.Response:
    return web.json_response({"error": "no results of this prompt"}, status=404)
