"""Files that callers upload for their own graphs. They live in object storage, below a prefix per account.

    graph-files/ACCOUNT/blobs/HASH          the bytes
    graph-files/ACCOUNT/records/ID          what is known of them; the id follows from account and hash
    graph-files/ACCOUNT/names/NAME          the id of the file that an account calls so

Equal bytes are stored once per account, and nothing is shared between accounts. A job copies what it needs,
so that a deletion never takes a file away from it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from blake3 import blake3

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.fair_slots import FairSlots
from orchestrator.jobs.objects import GRAPH_FILE_PREFIX
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore

_NAMESPACE = UUID("5f0c1f0e-6f0a-4d0c-9a52-0d3f3c0a7c11")
HASH_PATTERN = re.compile(r"blake3:[0-9a-f]{64}")
_PAGE = 1000
#: Longest name in bytes.
MAX_NAME_BYTES = 300
#: Longest part of a key: servers that keep objects as files take no longer ones.
_MAX_KEY_PART = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFile:
    """An uploaded file."""

    id: str
    account_id: str
    #: `blake3:` and 64 hexadecimal digits.
    hash: str
    size: int
    content_type: str
    #: What the caller calls it.
    name: str
    created_at: datetime

    @property
    def key(self) -> str:
        """Key of its bytes."""
        return f"{_folder(self.account_id)}blobs/{self.hash.removeprefix('blake3:')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFiles:
    """Stores, finds and deletes the files of accounts."""

    objects: ObjectStore
    clock: Callable[[], datetime]
    lifetime: timedelta
    #: Limits of one account.
    max_bytes: int
    max_count: int
    slots: FairSlots

    async def add(self, account_id: str, data: bytes, content_type: str, name: str) -> tuple[GraphFile, bool]:
        """Store a file and return it, and whether its bytes are new. Raises InvalidRequest."""
        _check_name(name)
        hash = await self.hash_of(data)
        found = await self.find_by_hash(account_id, hash)
        if found is None:
            await self._make_room(account_id, len(data))
        file = GraphFile(
            id=_id_of(account_id, hash),
            account_id=account_id,
            hash=hash,
            size=len(data),
            content_type=content_type,
            name=name or (found.name if found else hash[7:23]),
            created_at=self.clock(),
        )
        async with self.slots.slot(account_id):
            await self.objects.put(file.key, data, "application/octet-stream")
            await self._put_record(file)
        return file, found is None

    @staticmethod
    async def hash_of(data: bytes) -> str:
        """Return the hash of bytes, as callers write it."""
        return "blake3:" + await asyncio.to_thread(lambda: blake3(data).hexdigest())

    async def rename(self, file: GraphFile, name: str) -> GraphFile:
        """Return a file whose bytes are stored already, under another name."""
        _check_name(name)
        data = await self.objects.get(file.key)
        return (await self.add(file.account_id, data, file.content_type, name or file.name))[0]

    async def find(self, account_id: str, id: str) -> GraphFile | None:
        """Return a file of the account, unless it has expired."""
        try:
            UUID(id)
            text = await self.objects.get_current(f"{_folder(account_id)}records/{id.lower()}")
        except (ObjectNotFound, ValueError):
            return None
        row = json.loads(text)
        created = datetime.fromisoformat(row["created_at"])
        if created + self.lifetime <= self.clock():
            return None
        return GraphFile(
            id=row["id"],
            account_id=account_id,
            hash=row["hash"],
            size=row["size"],
            content_type=row["content_type"],
            name=row["name"],
            created_at=created,
        )

    async def find_by_hash(self, account_id: str, hash: str) -> GraphFile | None:
        """Return the account's own file with this hash."""
        return await self.find(account_id, _id_of(account_id, hash)) if HASH_PATTERN.fullmatch(hash) else None

    async def find_by_name(self, account_id: str, name: str) -> GraphFile | None:
        """Return the file that the account has named so."""
        try:
            id = await self.objects.get_current(_name_key(account_id, name))
        except ObjectNotFound:
            return None
        return await self.find(account_id, id.decode())

    async def set_name(self, account_id: str, name: str, file: GraphFile) -> None:
        """Let a name mean a file from now on."""
        await self.objects.put(_name_key(account_id, name), file.id.encode(), "text/plain")

    async def read(self, file: GraphFile) -> bytes:
        """Return the bytes of a file. Raises NotFound if it was deleted meanwhile."""
        try:
            return await self.objects.get(file.key)
        except ObjectNotFound as error:
            raise NotFound(f"File {file.id} was deleted", code="asset_not_found") from error

    async def delete(self, file: GraphFile) -> None:
        """Delete a file; names of it mean nothing afterwards."""
        await self.objects.delete(f"{_folder(file.account_id)}records/{file.id}")
        await self.objects.delete(file.key)

    def expires_at(self, file: GraphFile) -> datetime:
        """Return when a file expires."""
        return file.created_at + self.lifetime

    async def _put_record(self, file: GraphFile) -> None:
        row = {
            "id": file.id,
            "hash": file.hash,
            "size": file.size,
            "content_type": file.content_type,
            "name": file.name,
            "created_at": file.created_at.isoformat(),
        }
        key = f"{_folder(file.account_id)}records/{file.id}"
        await self.objects.put(key, json.dumps(row).encode(), "application/json")

    async def _make_room(self, account_id: str, size: int) -> None:
        """Delete what has expired. Raises InvalidRequest if the account keeps too much."""
        used, count, oldest = 0, 0, self.clock() - self.lifetime
        next_page = self.objects.list_objects(f"{_folder(account_id)}blobs/")
        while page := await next_page(_PAGE):
            for found in page:
                if found.modified <= oldest:
                    await self.objects.delete(found.key)
                else:
                    used, count = used + found.size, count + 1
        if used + size > self.max_bytes or count >= self.max_count:
            raise InvalidRequest(
                f"The account keeps {count} files of {used} bytes for its graphs; at most {self.max_count}"
                f" files and {self.max_bytes} bytes are allowed: delete some, or wait until they expire",
                code="storage_full",
                param="file",
            )


def _folder(account_id: str) -> str:
    return f"{GRAPH_FILE_PREFIX}{account_id}/"


def _id_of(account_id: str, hash: str) -> str:
    return str(uuid5(_NAMESPACE, f"{account_id}/{hash}"))


def _name_key(account_id: str, name: str) -> str:
    data = name.encode("utf-8", "surrogatepass")
    encoded = base64.urlsafe_b64encode(data).decode().rstrip("=")
    if len(encoded) > _MAX_KEY_PART:
        encoded = f"sha256-{hashlib.sha256(data).hexdigest()}"
    return f"{_folder(account_id)}names/{encoded}"


def _check_name(name: str) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise InvalidRequest(
            f"The file's name has more than {MAX_NAME_BYTES} bytes; shorten it",
            code="invalid_request",
            param="file_path",
        )
