"""Follows what the node pack of an instance delivers: grants presigned requests, and waits for the results.

A prompt has ended when its results are handed over; they are delivered while the next one runs. All state is
on the instance: a later process that follows a delivery continues where an earlier one stopped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from comfy_instances.protocol.delivery import (
    DeliveredFile,
    DeliverySnapshot,
    DeliveryState,
    parse_snapshot,
)
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.messages import ResultsEncoded
from comfy_instances.session.client import ComfyUIClient
from comfy_instances.session.settings import SessionSettings
from comfy_instances.tasks import loop_time

_HEADER = "X-Pixel-Factory-Delivery"
_RETRY_SECONDS = 0.25
#: Prompts whose message that results are encoded is kept, until their results are collected.
_KEPT_MESSAGES = 64


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """A presigned request for one object. It must not be logged or stored."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class InputGrant:
    """A presigned request for an input file."""

    url: str = field(repr=False)
    sha256: str
    #: Bytes.
    size: int
    extension: str


#: Returns the request for an encoded file; None for one that the service fetches and stores itself.
GrantUpload = Callable[[DeliveredFile], Awaitable[UploadGrant | None]]


class DeliveryUnsupported(Exception):
    """The instance does not have the routes of the node pack, or cannot do what was asked."""


class Deliveries:
    """The deliveries of one instance."""

    def __init__(self, client: ComfyUIClient, settings: SessionSettings) -> None:
        self._client = client
        self._settings = settings
        #: Prompts whose results are being collected.
        self._collecting: set[str] = set()
        #: The latest message about the results of each prompt, and what waits for one.
        self._encoded: OrderedDict[str, DeliverySnapshot] = OrderedDict()
        self._arrivals: dict[str, asyncio.Event] = {}
        #: Whether the node pack sends such messages. Older ones do not.
        self._sends_messages = False
        #: False once an older node pack has refused to forget several prompts in one request.
        self._can_forget = True

    def note_encoded(self, message: ResultsEncoded) -> None:
        """Note that results of a prompt are encoded, and in which state all of them are."""
        self._sends_messages = True
        self._encoded[message.prompt_id] = message.snapshot
        while len(self._encoded) > _KEPT_MESSAGES:
            self._encoded.popitem(last=False)
        if (arrival := self._arrivals.get(message.prompt_id)) is not None:
            arrival.set()

    @property
    def is_in_use(self) -> bool:
        """Whether results are still on the instance."""
        return bool(self._collecting)

    def is_collecting(self, prompt_id: str) -> bool:
        """Whether the results of a prompt are being collected."""
        return prompt_id in self._collecting

    async def reaches(self, url: str) -> str:
        """Have the instance read a URL; return what answered, such as `404 NoSuchKey` or `0`.

        Raises DeliveryUnsupported, InstanceGone.
        """
        body = await self._call("POST", "pixelfactory/delivery/check", {"url": url})
        return f"{body.get('status')} {body.get('code') or ''}".strip()

    async def collect(self, prompt_id: str, grant: GrantUpload) -> tuple[DeliveredFile, ...]:
        """Return all files of a prompt that has ended, once they are stored, offered or failed.

        Those for which `grant` returns None stay encoded.

        Raises InstanceGone if the instance is lost meanwhile, and what `grant` raises.
        """
        self._collecting.add(prompt_id)
        try:
            return await self._collect(prompt_id, grant)
        finally:
            self._collecting.discard(prompt_id)
            self._encoded.pop(prompt_id, None)

    async def _collect(self, prompt_id: str, grant: GrantUpload) -> tuple[DeliveredFile, ...]:
        taken = set[int]()
        found = await self._wait_for_message(prompt_id) or await self._follow_patiently(prompt_id, 0, {})
        # A request that an earlier process granted may have expired, or name an earlier address.
        states = {DeliveryState.ENCODED, DeliveryState.UPLOADING}
        while True:
            waiting = [file for file in found.files if file.state in states and file.number not in taken]
            given = await asyncio.gather(*(grant(file) for file in waiting))
            grants = {file.number: one for file, one in zip(waiting, given, strict=True) if one is not None}
            encoded = {file.number for file in waiting if file.state is DeliveryState.ENCODED}
            taken |= encoded - grants.keys()
            if all(file.state.is_final or file.number in taken for file in found.files):
                return found.files
            states = {DeliveryState.ENCODED}
            found = await self._follow_patiently(prompt_id, found.revision, grants)

    async def _wait_for_message(self, prompt_id: str) -> DeliverySnapshot | None:
        """Return the state in the message that results are encoded; None if none comes, or not soon.

        The message of a result that is encoded after `encoded_wait_s` is not waited for: the answer to a
        request says the same.
        """
        if prompt_id not in self._encoded and self._sends_messages:
            arrival = self._arrivals[prompt_id] = asyncio.Event()
            try:
                async with asyncio.timeout(self._settings.encoded_wait_s):
                    await arrival.wait()
            except TimeoutError:
                return None
            finally:
                del self._arrivals[prompt_id]
        return self._encoded.get(prompt_id)

    async def _follow_patiently(
        self, prompt_id: str, after: int, grants: Mapping[int, UploadGrant]
    ) -> DeliverySnapshot:
        """Follow, also over a time in which the instance does not respond."""
        asked_at = loop_time()
        while True:
            try:
                return await self._follow(prompt_id, after, grants)
            except InstanceGone as gone:
                is_requested = gone.self_inflicted or self._client.closed_on_request
                is_lost = gone.connection_refused or not self._client.is_open
                if is_lost or loop_time() - asked_at > self._settings.gone_after_s:
                    raise InstanceGone(
                        f"the instance was lost before its results were delivered: {gone.message}",
                        connection_refused=gone.connection_refused,
                        while_running=not is_requested,
                        self_inflicted=is_requested,
                    ) from gone
                await asyncio.sleep(_RETRY_SECONDS)
            except DeliveryUnsupported as error:
                raise InstanceGone(
                    "the instance no longer knows the results of the prompt", while_running=True
                ) from error

    async def _follow(
        self, prompt_id: str, after: int, grants: Mapping[int, UploadGrant]
    ) -> DeliverySnapshot:
        rows = {str(number): {"url": one.url, "headers": dict(one.headers)} for number, one in grants.items()}
        wait = self._settings.delivery_wait_s
        body = {"after": after, "wait": wait, "grants": rows}
        timeout = aiohttp.ClientTimeout(total=wait + self._settings.gone_after_s)
        found = await self._call("POST", f"pixelfactory/delivery/{prompt_id}", body, timeout=timeout)
        try:
            return parse_snapshot(found)
        except ValueError as error:
            raise DeliveryUnsupported(str(error)) from error

    async def fetch(self, prompt_id: str, number: int) -> bytes:
        """Return the bytes of a file that the instance could not upload. Raises InstanceGone, NoOutput."""
        return await self._client.fetch_path(
            f"pixelfactory/delivery/{prompt_id}/{number}", headers={_HEADER: "1"}
        )

    async def release(self, prompt_id: str) -> None:
        """Have the instance forget the results of a prompt and let go of its input files.

        Raises InstanceGone.
        """
        self._encoded.pop(prompt_id, None)
        try:
            await self._call("DELETE", f"pixelfactory/delivery/{prompt_id}")
        except DeliveryUnsupported:
            return

    async def forget(self, prompt_ids: Sequence[str]) -> bool:
        """Have the instance release prompts and delete their history in one request.

        False if its node pack is older and cannot: then `release` does it, prompt by prompt, without the
        history. Raises InstanceGone.
        """
        for prompt_id in prompt_ids:
            self._encoded.pop(prompt_id, None)
        if self._can_forget:
            try:
                await self._call("POST", "pixelfactory/ended", {"prompts": list(prompt_ids)})
            except DeliveryUnsupported:
                self._can_forget = False
        return self._can_forget

    async def fetch_inputs(self, prompt_id: str, files: Sequence[InputGrant]) -> list[str]:
        """Have the instance fetch input files; return their names for graphs, in order.

        They stay until `release`, and afterwards while there is room. Raises DeliveryUnsupported if it
        cannot fetch them, InstanceGone.
        """
        rows = [
            {"url": one.url, "sha256": one.sha256, "size": one.size, "extension": one.extension}
            for one in files
        ]
        seconds = self._settings.gone_after_s + sum(one.size for one in files) / 1e6
        timeout = aiohttp.ClientTimeout(total=seconds)
        body = await self._call("POST", f"pixelfactory/inputs/{prompt_id}", {"files": rows}, timeout=timeout)
        names = body.get("names")
        if not isinstance(names, list) or len(names) != len(rows):
            raise DeliveryUnsupported("the instance did not name the input files")
        return [str(name) for name in names]

    async def set_previews(self, prompt_id: str, *, listening: bool) -> None:
        """Switch the previews of a prompt on or off. Raises InstanceGone."""
        try:
            await self._call("POST", f"pixelfactory/previews/{prompt_id}", {"listening": listening})
        except DeliveryUnsupported:
            return

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"headers": {_HEADER: "1"}}
        if body is not None:
            options["json"] = body
        if timeout is not None:
            options["timeout"] = timeout
        status, found = await self._client.call(method, path, **options)
        if status >= 400:
            raise DeliveryUnsupported(f"{path.split('/')[1]}: {found.get('error') or f'status {status}'}")
        return found
