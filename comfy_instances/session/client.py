"""ComfyUI's HTTP routes, one method each. All failures leave as `InstanceError`s.

Where nothing else is said: raises InstanceGone when the instance does not answer, or not as ComfyUI does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from comfy_instances.protocol.errors import BadGraph, InstanceGone, NoOutput
from comfy_instances.protocol.graphs import Graph
from comfy_instances.protocol.history import InstanceQueue, parse_history, parse_queue
from comfy_instances.protocol.messages import Message
from comfy_instances.protocol.outputs import FileRef
from comfy_instances.protocol.system_stats import SystemStats, parse_system_stats
from comfy_instances.session.settings import SessionSettings

T = TypeVar("T")
_CHUNK_BYTES = 2**20
# Folders that are in the list of model folders, and hold programs and settings.
_NON_MODEL_FOLDERS = ("custom_nodes", "configs")
#: Previews, however the server was started: one small product per step, and no weights.
EXTRA_DATA = {"preview_method": "latent2rgb"}


class ComfyUIClient:
    """One connection pool to one instance. Opened and closed by its session."""

    def __init__(self, url: URL, settings: SessionSettings) -> None:
        self._url = url
        self._settings = settings
        self._http: aiohttp.ClientSession | None = None

    def open(self) -> None:
        patience = self._settings.gone_after_s
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=patience),
            # One prompt runs and one waits; the rest is uploads, downloads and questions.
            connector=aiohttp.TCPConnector(limit=16),
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def submit(self, graph: Graph, prompt_id: str, client_id: str) -> dict[str, Any]:
        """Queue a prompt. Returns the findings by node id of an answer that accepts a part of the graph:
        not empty means that the rest will be skipped. Raises BadGraph where all of it is refused."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id, "extra_data": EXTRA_DATA}
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise BadGraph(f"the graph can not be written as JSON: {error}") from error
        headers = {"Content-Type": "application/json"}
        async with self._request("POST", "prompt", data=data, headers=headers) as response:
            if response.status in (400, 413):
                raise parse_graph_rejection(await response.text())
            _raise_for_status(response)
            return dict((await response.json()).get("node_errors") or {})

    async def get_queue(self) -> InstanceQueue:
        return await self._get_json("queue", parse_queue)

    async def get_history(self, prompt_id: str) -> list[Message] | None:
        """What the socket said of a prompt that has ended; None where the instance has no record."""
        return await self._get_json(f"history/{prompt_id}", lambda body: parse_history(body, prompt_id))

    async def delete_history(self, prompt_id: str) -> None:
        """Delete the history entry."""
        await self._post_json("history", {"delete": [prompt_id]})

    async def delete_from_queue(self, prompt_id: str) -> None:
        """Take back a prompt that waits; nothing happens to one that runs."""
        await self._post_json("queue", {"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        """Stop a prompt that runs, at its next step; nothing happens to others."""
        await self._post_json("interrupt", {"prompt_id": prompt_id})

    async def free_memory(self) -> None:
        await self._post_json("free", {"unload_models": True, "free_memory": True})

    async def get_system_stats(self) -> SystemStats:
        return await self._get_json("system_stats", parse_system_stats)

    async def get_object_info(self) -> dict[str, Any]:
        return await self._get_json("object_info", dict)

    async def list_model_files(self) -> dict[str, list[str]]:
        """The names of its model files by folder, from the server's cached lists; none of a server that has
        no such lists."""
        folders = [name for name in await self._list_names("models") if name not in _NON_MODEL_FOLDERS]
        return {name: await self._list_names(f"models/{name}") for name in folders}

    async def _list_names(self, path: str) -> list[str]:
        async with self._request("GET", path) as response:
            if response.status == 404:
                return []
            _raise_for_status(response)
            return [str(name) for name in await response.json()]

    async def upload_input(self, name: str, data: bytes, content_type: str, subfolder: str = "") -> str:
        """Store an input file. Returns the name by which graphs refer to it, which may differ from `name`
        and begins with the sub-folder, which is made where it is not there.
        Raises BadGraph where the instance refuses the file (its name, or more than it takes)."""
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name, content_type=content_type)
        if subfolder:
            form.add_field("subfolder", subfolder)
        # A server that stops reading must not hold us for ever: a second for each megabyte is ample.
        timeout = aiohttp.ClientTimeout(total=self._settings.gone_after_s + len(data) / 1e6)
        async with self._request("POST", "upload/image", data=form, timeout=timeout) as response:
            if response.status in (400, 413):
                raise BadGraph(f"the instance refuses the input file (status {response.status})")
            _raise_for_status(response)
            taken = await response.json()
            return "/".join(part for part in (taken.get("subfolder"), taken["name"]) if part)

    async def fetch_file(self, file: FileRef) -> bytes:
        """A file's bytes. Raises NoOutput where it is not there or larger than `max_output_bytes`."""
        params = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        # However large a file is, it must keep moving.
        patience = self._settings.gone_after_s
        timeout = aiohttp.ClientTimeout(total=None, connect=patience, sock_read=patience)
        async with self._request("GET", "view", params=params, timeout=timeout) as response:
            if response.status in (400, 403, 404):
                raise NoOutput(f"the instance does not give out {file} (status {response.status})")
            _raise_for_status(response)
            return await self._read_limited(response, file)

    async def _read_limited(self, response: aiohttp.ClientResponse, file: FileRef) -> bytes:
        limit = self._settings.max_output_bytes
        content = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            content += chunk
            if len(content) > limit:
                raise NoOutput(f"{file} is larger than {limit} bytes")
        return bytes(content)

    async def _get_json(self, path: str, parse: Callable[[Any], T]) -> T:
        async with self._request("GET", path) as response:
            _raise_for_status(response)
            return parse(await response.json())

    async def _post_json(self, path: str, body: Mapping[str, Any]) -> None:
        async with self._request("POST", path, json=body) as response:
            _raise_for_status(response)

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one place where aiohttp's errors, and answers of a wrong shape, become ours."""
        if self._http is None:
            raise InstanceGone("the session is closed")
        try:
            async with self._http.request(method, self._url / path, **options) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise InstanceGone(f"{path}: {error}", connection_refused=refused) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InstanceGone(f"{path}: {error or type(error).__name__}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InstanceGone(f"{path}: an answer that is not ComfyUI's ({error})") from error


def parse_graph_rejection(body: str) -> BadGraph:
    """The server's answer to a graph that it does not take."""
    try:
        answer = json.loads(body)
        error, node_errors = answer["error"], answer.get("node_errors") or {}
        kind, said = str(error["type"]), str(error["message"])
        findings = "; ".join(format_node_errors(node_errors)) or str(error.get("details") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return BadGraph("the instance refuses the graph and does not say why")
    return BadGraph(f"{said}: {findings}" if findings else said, error_type=kind, node_errors=node_errors)


def format_node_errors(node_errors: Mapping[str, Any]) -> list[str]:
    """One line for each finding. The server's `details` are left out: some carry paths of its disk."""
    return [
        f"node {node_id} ({row.get('class_type')}): {finding.get('type')}"
        f" {(finding.get('extra_info') or {}).get('input_name', '')}".rstrip()
        for node_id, row in node_errors.items()
        for finding in row.get("errors", ())
    ]


def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        raise InstanceGone(f"{response.url.path}: status {response.status}")
