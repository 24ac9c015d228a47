"""ComfyUI's HTTP routes, one method each. All failures are raised as `InstanceError`s.

Every method raises InstanceGone if the instance does not respond, or not as ComfyUI does; other errors are
named in its docstring.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import BadGraph, InstanceGone, NoOutput
from comfy_instances.protocol.graphs import Graph
from comfy_instances.protocol.history import InstanceQueue, parse_history, parse_queue
from comfy_instances.protocol.messages import Message
from comfy_instances.protocol.outputs import FileRef
from comfy_instances.protocol.proxied import NOT_RUNNING, STATE_HEADER
from comfy_instances.protocol.rejections import parse_graph_rejection
from comfy_instances.protocol.server_log import LogLine, parse_server_log
from comfy_instances.protocol.system_stats import SystemStats, parse_system_stats
from comfy_instances.session.settings import SessionSettings
from comfy_instances.shortages import is_resource_shortage

T = TypeVar("T")
_CHUNK_BYTES = 2**20
#: What an upload is larger than its file, at most.
MAX_FORM_BYTES = 4096
# `/models` lists these folders too, but they hold programs and settings.
_NON_MODEL_FOLDERS = ("custom_nodes", "configs")
#: Requests previews whatever the server's own setting: `latent2rgb` is cheap and needs no weights.
EXTRA_DATA = {"preview_method": "latent2rgb"}


class ComfyUIClient:
    """The HTTP client of one instance. Its session opens and closes it."""

    def __init__(self, url: URL, settings: SessionSettings) -> None:
        self._url = url
        self._settings = settings
        self._http: aiohttp.ClientSession | None = None
        #: Whether it was closed because the instance is stopped on request.
        self.closed_on_request = False

    def open(self) -> None:
        """Create the connection pool."""
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.gone_after_s),
            # Enough for the uploads, downloads and state requests of one running and one waiting prompt, and
            # for those that wait for results of earlier ones.
            connector=aiohttp.TCPConnector(limit=48),
            headers=self._settings.auth_headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent: not before `open`, nor after `close`."""
        return self._http is not None

    async def close(self, *, on_request: bool = False) -> None:
        """Close all connections. `on_request`: the instance is stopped, and no prompt is the cause."""
        self.closed_on_request = on_request
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def submit(
        self, graph: Graph, prompt_id: str, client_id: str, extra_data: Mapping[str, Any] = EXTRA_DATA
    ) -> dict[str, Any]:
        """Queue a prompt. Return the errors by node id if the instance accepts only a part of the graph
        (and would skip the rest), else an empty dict. Raises BadGraph if it rejects the whole graph."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id, "extra_data": extra_data}
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise BadGraph(f"the graph cannot be written as JSON: {error}") from error
        headers = {"Content-Type": "application/json"}
        async with self._request("POST", "prompt", data=data, headers=headers) as response:
            if response.status in (400, 413):
                raise parse_graph_rejection(await response.text())
            _raise_for_status(response)
            return dict((await response.json()).get("node_errors") or {})

    async def get_queue(self) -> InstanceQueue:
        """Return the running and waiting prompts of all clients."""
        return await self._get_json("queue", parse_queue)

    async def get_history(self, prompt_id: str) -> list[Message] | None:
        """Return the messages of a prompt that has ended; None if the instance has no entry for it."""
        return await self._get_json(f"history/{prompt_id}", lambda body: parse_history(body, prompt_id))

    async def delete_history(self, prompt_ids: Sequence[str]) -> None:
        """Delete the history entries of prompts."""
        await self._post_json("history", {"delete": list(prompt_ids)})

    async def delete_from_queue(self, prompt_id: str) -> None:
        """Delete a waiting prompt; has no effect on a running one."""
        await self._post_json("queue", {"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        """Stop a running prompt at its next step; has no effect on others."""
        await self._post_json("interrupt", {"prompt_id": prompt_id})

    async def free_memory(self) -> None:
        """Ask the instance to unload its models and free its memory before the next prompt."""
        await self._post_json("free", {"unload_models": True, "free_memory": True})

    async def get_system_stats(self) -> SystemStats:
        """Return the server's version and command line, and the memory of its devices."""
        return await self._get_json("system_stats", parse_system_stats)

    async def get_log(self) -> list[LogLine]:
        """Return the lines that the server keeps of its log: 300 pieces of text in the tested version."""
        return await self._get_json("internal/logs/raw", parse_server_log)

    async def get_object_info(self) -> dict[str, Any]:
        """Return the facts of all node classes, by class name. The response is several megabytes."""
        return await self._get_json("object_info", dict)

    async def list_model_files(self) -> dict[str, list[str]]:
        """Return the names of the model files by folder, from the server's cached lists; empty for a server
        without this route."""
        folders = [name for name in await self._list_names("models") if name not in _NON_MODEL_FOLDERS]
        return {name: await self._list_names(f"models/{name}") for name in folders}

    async def _list_names(self, path: str) -> list[str]:
        async with self._request("GET", path) as response:
            if response.status == 404:
                return []
            _raise_for_status(response)
            return [str(name) for name in await response.json()]

    async def list_model_names(self, folder: str) -> list[str]:
        """Return the names of the model files of one folder, as loader nodes call them now."""
        return await self._list_names(f"models/{folder}")

    async def get_model_metadata(self, folder: str, name: str) -> dict[str, Any]:
        """Return the metadata in the header of a safetensors file; empty if it has none or does not exist."""
        async with self._request("GET", f"view_metadata/{folder}", params={"filename": name}) as response:
            if response.status == 404:
                return {}
            _raise_for_status(response)
            metadata = await response.json()
            return metadata if isinstance(metadata, dict) else {}

    async def upload_input(self, name: str, data: bytes, content_type: str, subfolder: str = "") -> str:
        """Upload an input file and return the name by which graphs refer to it.

        The name starts with `subfolder`, which the server creates, and may differ from `name` if that is
        taken. Raises BadGraph if the instance rejects the file's name or size.
        """
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name, content_type=content_type)
        if subfolder:
            form.add_field("subfolder", subfolder)
        return await self._upload(form, name, len(data))

    async def upload_file(self, file: FileRef, data: bytes) -> None:
        """Upload a file to its place below a folder of the instance; it replaces an earlier one.

        Raises BadGraph if the instance rejects the file's name or size.
        """
        # A server closes the connection of a body that is too large, as if it were gone.
        limit = await self._get_json("features", lambda body: body.get("max_upload_size"))
        if limit is not None and len(data) + MAX_FORM_BYTES > limit:
            raise BadGraph(
                f"the instance takes no file of {len(data)} bytes: its limit is {limit:g};"
                " start it with a larger --max-upload-size"
            )
        form = aiohttp.FormData()
        form.add_field("image", data, filename=file.filename, content_type="application/octet-stream")
        for name, value in (("type", file.type), ("subfolder", file.subfolder), ("overwrite", "true")):
            form.add_field(name, value)
        await self._upload(form, file.filename, len(data))

    async def find_file_size(self, file: FileRef) -> int | None:
        """Return the size of a file of the instance in bytes; None if it does not exist."""
        params = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        async with self._request("HEAD", "view", params=params) as response:
            if response.status in (400, 403, 404):
                return None
            _raise_for_status(response)
            return response.content_length

    async def _upload(self, form: aiohttp.FormData, name: str, size: int) -> str:
        # Bounds the upload if the server stops reading: one second per megabyte is ample.
        timeout = aiohttp.ClientTimeout(total=self._settings.gone_after_s + size / 1e6)
        async with self._request("POST", "upload/image", data=form, timeout=timeout) as response:
            if response.status in (400, 413):
                raise BadGraph(f"the instance rejects the file {name!r} (status {response.status})")
            _raise_for_status(response)
            stored = await response.json()
            return "/".join(part for part in (stored.get("subfolder"), stored["name"]) if part)

    async def fetch_file(self, file: FileRef) -> bytes:
        """Return a file's bytes. Raises NoOutput if it does not exist or exceeds `max_output_bytes`."""
        params = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        return await self.fetch_path("view", str(file), params=params)

    async def fetch_path(self, path: str, description: str = "the file", **options: Any) -> bytes:
        """Return the body of a response. Raises NoOutput as `fetch_file` does."""
        # A large file may take long, but each read must deliver data in time.
        read_timeout = self._settings.gone_after_s
        timeout = aiohttp.ClientTimeout(total=None, connect=read_timeout, sock_read=read_timeout)
        async with self._request("GET", path, timeout=timeout, **options) as response:
            if response.status in (400, 403, 404):
                raise NoOutput(f"the instance does not serve {description} (status {response.status})")
            _raise_for_status(response)
            return await self._read_limited(response, description)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Send a request to a route of a node pack; return status and body.

        The body is empty if the instance does not have the route.
        """
        async with self._request(method, path, **options) as response:
            if response.status >= 500 and response.status != 502:
                _raise_for_status(response)
            is_json = response.content_type == "application/json"
            return response.status, dict(await response.json()) if is_json else {}

    async def _read_limited(self, response: aiohttp.ClientResponse, description: str) -> bytes:
        limit = self._settings.max_output_bytes
        content = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            content += chunk
            if len(content) > limit:
                raise NoOutput(f"{description} is larger than the limit of {limit} bytes")
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
        """Send a request, and turn aiohttp's errors and malformed responses into InstanceGone."""
        if self._http is None:
            raise InstanceGone("the session is closed", self_inflicted=self.closed_on_request)
        try:
            async with self._http.request(method, self._url / path, **options) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            raise InstanceGone(
                f"{path}: {error}", connection_refused=refused, self_inflicted=is_resource_shortage(error)
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InstanceGone(
                f"{path}: {error_text(error)}", self_inflicted=is_resource_shortage(error)
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InstanceGone(f"{path}: the response is not ComfyUI's ({error})") from error
        except (MemoryError, RuntimeError) as error:
            if not is_resource_shortage(error):
                raise
            raise InstanceGone(f"{path}: {error_text(error)}", self_inflicted=True) from error


def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        is_running = response.headers.get(STATE_HEADER) != NOT_RUNNING
        raise InstanceGone(
            f"{response.url.path}: status {response.status}", connection_refused=not is_running
        )
