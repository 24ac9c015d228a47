"""Fetch the results of a test run into ComfyUI's temporary folder, from where its page may show them."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

#: Largest result that is fetched.
MAX_RESULT_BYTES = 2**30
_CHUNK_BYTES = 2**20
_FALLBACK_TYPE = "application/octet-stream"


async def fetch_results(job: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return `{"url", "content_type"}` of the results of a job, with addresses on ComfyUI's own server.

    The page's content security policy blocks those of the object storage. A result that cannot be fetched
    keeps its own address.
    """
    output = job.get("output")
    groups = output.values() if isinstance(output, dict) else ()
    urls = [url for group in groups if isinstance(group, list) for url in group if isinstance(url, str)]
    # No key is sent: the addresses of results are those of the object storage.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600, sock_connect=20)) as client:
        return [await _fetch_result(client, url) for url in urls]


async def _fetch_result(client: aiohttp.ClientSession, url: str) -> dict[str, str]:
    guessed = mimetypes.guess_type(urlsplit(url).path)[0] or _FALLBACK_TYPE
    try:
        async with client.get(url) as response:
            response.raise_for_status()
            content_type = response.content_type or guessed
            name = await _save(response, content_type)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return {"url": url, "content_type": guessed}
    query = urlencode({"filename": name, "type": "temp"})
    return {"url": f"/view?{query}", "content_type": content_type}


async def _save(response: aiohttp.ClientResponse, content_type: str) -> str:
    """Write the body to a new file and return its name. Raises ValueError if it is too large."""
    path = _new_file(content_type)
    size = 0
    with path.open("wb") as file:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_RESULT_BYTES:
                path.unlink()
                raise ValueError(f"larger than {MAX_RESULT_BYTES} bytes")
            file.write(chunk)
    return path.name


def _new_file(content_type: str) -> Path:
    folder = Path(import_module("folder_paths").get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"pixel_factory_{secrets.token_hex(8)}{mimetypes.guess_extension(content_type) or '.bin'}"
