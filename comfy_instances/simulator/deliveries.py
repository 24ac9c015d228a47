"""What the node pack of a real instance delivers, in its simulated form: files, input files and previews."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from comfy_instances.protocol.delivery import ENCODED_EVENT
from comfy_instances.tasks import spawn

PROTOCOL = 2
#: Longest time that an upload is tried, in seconds; then the service has to fetch the file.
UPLOAD_SECONDS = 90.0
MAX_REJECTED = 3
INPUT_PREFIX = "pixelfactory-"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class InputRejected(Exception):
    """An input file cannot be fetched."""


@dataclass(kw_only=True, slots=True)
class SimulatedFile:
    """A file that is delivered. Its bytes are dropped once they are stored."""

    node: str
    data: bytes = field(repr=False)
    content_type: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    state: str = "encoded"
    rejected: int = 0
    error: str = ""
    grant: Mapping[str, Any] = field(default_factory=dict, repr=False)
    encode_seconds: float = 0.0
    upload_seconds: float = 0.0
    size: int = 0
    sha256: str = ""
    md5: str = ""
    tag: str = ""

    def __post_init__(self) -> None:
        self.size = len(self.data)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.md5 = hashlib.md5(self.data, usedforsecurity=False).hexdigest()

    def report(self, number: int) -> dict[str, Any]:
        """Return what the service may know."""
        names = (
            "node", "state", "rejected", "error", "content_type", "size", "sha256", "md5", "tag", "width",
            "height", "frames", "fps",
        )  # fmt: skip
        row = {name: getattr(self, name) for name in names}
        timings = {"blocked": self.encode_seconds, "queued": 0.0, "encode": self.encode_seconds}
        if self.state == "stored":
            timings["upload"] = self.upload_seconds
        return {"item": number, "timings": timings, **row}


@dataclass(slots=True)
class _Delivery:
    """All files of one prompt."""

    files: list[SimulatedFile] = field(default_factory=list)
    revision: int = 1
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self) -> dict[str, Any]:
        """Return what the service may know."""
        rows = [file.report(number) for number, file in enumerate(self.files)]
        return {"protocol": PROTOCOL, "revision": self.revision, "files": rows}

    def touch(self) -> None:
        self.revision += 1
        self.changed.set()
        self.changed = asyncio.Event()


class SimulatedDeliveries:
    """The deliveries of one instance. Use it on the event loop; `add` may be called from any thread."""

    def __init__(self, input_folder: Path, send: Callable[[str, Any, str | None], None]) -> None:
        """`send` queues a message, by its name and its content, for a client."""
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._input_folder = input_folder
        self._deliveries: dict[str, _Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Opened by the first upload.
        self._http: aiohttp.ClientSession | None = None
        #: By prompt, whether a client listens to its previews.
        self.listening: dict[str, bool] = {}
        self.inputs_fetched = 0
        self.input_hits = 0

    def add(self, prompt_id: str, client_id: str | None, files: Sequence[SimulatedFile]) -> None:
        """Deliver files of a prompt, and tell the client that queued it."""
        self._loop.call_soon_threadsafe(self._add, prompt_id, client_id, files)

    def _add(self, prompt_id: str, client_id: str | None, files: Sequence[SimulatedFile]) -> None:
        delivery = self._deliveries.setdefault(prompt_id, _Delivery())
        delivery.files.extend(files)
        delivery.touch()
        if client_id is not None:
            self._send(ENCODED_EVENT, {"prompt_id": prompt_id, **delivery.report()}, client_id)

    async def follow(self, prompt_id: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take grants, wait for a change and return the state of a prompt; None if it is unknown."""
        delivery = self._deliveries.get(prompt_id)
        if delivery is None:
            return None
        for number, grant in (body.get("grants") or {}).items():
            self._grant(delivery, delivery.files[int(number)], grant)
        if delivery.revision <= int(body["after"]):
            with suppress(TimeoutError):
                await asyncio.wait_for(delivery.changed.wait(), min(20.0, float(body.get("wait", 0))))
        if prompt_id not in self._deliveries:
            return None
        return delivery.report()

    def _grant(self, delivery: _Delivery, file: SimulatedFile, grant: Mapping[str, Any]) -> None:
        if file.state in ("encoded", "uploading"):
            file.grant = grant
        if file.state == "encoded":
            file.state = "uploading"
            spawn(self._upload(delivery, file), "simulated upload", file.sha256, group=self._tasks)

    async def _upload(self, delivery: _Delivery, file: SimulatedFile) -> None:
        """Send a file until it is stored or it is clear that it will not be."""
        started, pause = time.monotonic(), _FIRST_PAUSE
        while file.state == "uploading":
            status = await self._put(file)
            if 200 <= status < 300:
                file.state, file.data, file.upload_seconds = "stored", b"", time.monotonic() - started
            elif status in (400, 401, 403):
                file.rejected += 1
                file.state = "encoded" if file.rejected < MAX_REJECTED else "offered"
            elif (status and status < 500) or time.monotonic() - started > UPLOAD_SECONDS:
                file.state = "offered"
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            file.error = "" if file.state == "stored" else f"object storage answers {status}"
            delivery.touch()

    async def _put(self, file: SimulatedFile) -> int:
        """Return the status of a try to store a file; 0 without an answer."""
        headers = {str(name): str(value) for name, value in (file.grant.get("headers") or {}).items()}
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        url = URL(file.grant["url"], encoded=True)
        try:
            async with self._http.put(url, data=file.data, headers=headers) as response:
                file.tag = response.headers.get("ETag", "").strip('"')
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def close(self) -> None:
        """Close the connections to object storage."""
        if self._http is not None:
            await self._http.close()

    def fetch(self, prompt_id: str, number: int) -> SimulatedFile | None:
        """Return a file with its bytes; None if there is none."""
        delivery = self._deliveries.get(prompt_id)
        if delivery is None or not 0 <= number < len(delivery.files):
            return None
        return delivery.files[number]

    def release(self, prompt_id: str) -> bool:
        """Forget what belongs to a prompt."""
        self.listening.pop(prompt_id, None)
        delivery = self._deliveries.pop(prompt_id, None)
        if delivery is None:
            return False
        for file in delivery.files:
            file.state = "failed"
        delivery.touch()
        return True

    def count_states(self) -> dict[str, int]:
        """Return the number of files in each state."""
        counts: dict[str, int] = {}
        for delivery in self._deliveries.values():
            for file in delivery.files:
                counts[file.state] = counts.get(file.state, 0) + 1
        return counts

    async def fetch_inputs(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have input files in the input folder; return their names. Raises InputRejected."""
        names = []
        for row in rows:
            name = f"{INPUT_PREFIX}{row['sha256']}.{row['extension']}"
            file = self._input_folder / name
            if file.is_file():
                self.input_hits += 1
            else:
                file.write_bytes(await _read(str(row["url"]), str(row["sha256"])))
                self.inputs_fetched += 1
            names.append(name)
        return names


async def _read(url: str, sha256: str) -> bytes:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
            http.get(URL(url, encoded=True)) as response,
        ):
            data = await response.read()
            if response.status != 200:
                raise InputRejected(f"object storage answers {response.status}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise InputRejected(type(error).__name__) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputRejected("what arrived does not have the digest of the input file")
    return data


#: Adds files of the running prompt to what is delivered.
Deliver = Callable[[Sequence[SimulatedFile]], None]
