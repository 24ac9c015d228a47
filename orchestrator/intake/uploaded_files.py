"""Files that callers upload first and name by a URL in a later request; they are kept for a day.

A file is two objects below `uploads/ACCOUNT/`: its bytes, and beside them a description in JSON. Nothing else
refers to them, so that object storage alone knows which files there are. A link to a file carries a code that
only the service can make; who has it may read the file until it expires.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import Forbidden, InvalidRequest, NotFound
from orchestrator.media.errors import ObjectNotFound, UrlNotAllowed
from orchestrator.storage.object_store import ListedObject, ObjectStore
from orchestrator.url_codes import UrlCodes, find_in_url

#: Prefix of the keys of all uploaded files.
UPLOAD_PREFIX = "uploads/"
#: Path of all links.
ROOT = "/uploads"
#: How long a file is kept.
LIFETIME = timedelta(days=1)
#: Bytes and number of the files that an account may have at a time.
MAX_ACCOUNT_BYTES, MAX_ACCOUNT_FILES = 2 * 2**30, 1000
#: Longest name, in characters.
MAX_NAME = 200
#: Largest description that a caller may attach, as JSON.
MAX_METADATA_BYTES = 16 * 1024
#: Lifetime of the presigned URL by which the service reads a file of its own, in seconds.
OWN_READ_SECONDS = 300
_FILE_ID = re.compile(r"file_[0-9a-f]{32}", re.ASCII)
_LINK = re.compile(
    ROOT + r"/(?P<account>[\w-]+)/(?P<file>file_[0-9a-f]{32})/(?P<expires>\d{1,12})/(?P<code>[0-9a-f]{32})"
    r"(?:/[^/]*)?",
    re.ASCII,
)
_UNSAFE_IN_NAME = re.compile(r"[^\w.-]+", re.ASCII)
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedFile:
    """One file of an account."""

    id: str
    account_id: str
    name: str
    content_type: str
    #: Bytes.
    size: int
    #: Hexadecimal digests of the bytes.
    sha256: str
    md5: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When the file is deleted."""
        return self.created_at + LIFETIME

    @property
    def key(self) -> str:
        """Key of the object with the bytes."""
        return file_key(self.account_id, self.id)


def file_key(account_id: str, file_id: str) -> str:
    """Return the key of the object with the bytes of a file."""
    return f"{UPLOAD_PREFIX}{account_id}/{file_id}"


def new_file_id() -> str:
    """Return an id that cannot be guessed."""
    return f"file_{secrets.token_hex(16)}"


def is_file_id(text: str) -> bool:
    """Whether a text has the form of a file's id."""
    return _FILE_ID.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedFiles:
    """Stores, lists and deletes the files of accounts, and makes links to them."""

    objects: ObjectStore
    codes: UrlCodes
    clock: Callable[[], datetime]

    async def add(
        self,
        account_id: str,
        data: bytes,
        *,
        name: str,
        content_type: str,
        metadata: Mapping[str, Any] | None = None,
        file_id: str | None = None,
    ) -> UploadedFile:
        """Store a file. Raises InvalidRequest, Forbidden if the account has too many, ObjectStoreError."""
        described = dict(metadata or {})
        if len(json.dumps(described)) > MAX_METADATA_BYTES:
            raise InvalidRequest(
                f"`metadata` must have at most {MAX_METADATA_BYTES} bytes as JSON",
                code="invalid_metadata",
                param="metadata",
            )
        await self._make_room(account_id, len(data))
        file = UploadedFile(
            id=file_id or new_file_id(),
            account_id=account_id,
            name=safe_name(name),
            content_type=content_type if _CONTENT_TYPE.fullmatch(content_type) else DEFAULT_TYPE,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            metadata=described,
            created_at=self.clock(),
        )
        await self.objects.put(file.key, data, file.content_type)
        await self.objects.put(f"{file.key}.json", _to_json(file), "application/json")
        return file

    async def get(self, account_id: str, file_id: str) -> UploadedFile:
        """Return a file of the account. Raises NotFound, also for an expired one."""
        try:
            raw = await self.objects.get(f"{_checked_key(account_id, file_id)}.json")
        except ObjectNotFound as error:
            raise file_not_found() from error
        file = _from_json(raw)
        if file.expires_at <= self.clock():
            raise file_not_found()
        return file

    async def list_files(self, account_id: str, limit: int = 100) -> list[UploadedFile]:
        """Return the account's files, newest first. Raises ObjectStoreError."""
        found = [entry for entry in await self._entries(account_id) if entry.key.endswith(".json")]
        newest = sorted(found, key=lambda entry: entry.modified, reverse=True)[:limit]
        files = [_from_json(await self.objects.get(entry.key)) for entry in newest]
        alive = [file for file in files if file.expires_at > self.clock()]
        return sorted(alive, key=lambda file: file.created_at, reverse=True)

    async def delete(self, account_id: str, file_id: str) -> None:
        """Delete a file. Raises NotFound, ObjectStoreError."""
        file = await self.get(account_id, file_id)
        await self.objects.delete(f"{file.key}.json")
        await self.objects.delete(file.key)

    def path_of(self, account_id: str, file_id: str, name: str, expires: datetime | None = None) -> str:
        """Return the path of a link that ends with the file, or at `expires`."""
        end = int((expires or self.clock() + LIFETIME).timestamp())
        code = self.codes.code(account_id, file_id, str(end))
        return f"{ROOT}/{account_id}/{file_id}/{end}/{code}/{safe_name(name)}"

    async def resolve(self, path: str) -> UploadedFile:
        """Return the file that a link leads to. Raises NotFound, also for a forged or expired link."""
        found = self._find(path)
        if found is None or found[2] <= self.clock().timestamp():
            raise file_not_found()
        return await self.get(found[0], found[1])

    async def presign_own(self, url: str) -> str | None:
        """Return a presigned URL of the file that a link leads to, or None if it is no link of ours.

        Raises UrlNotAllowed for a link that has expired.
        """
        found = find_in_url(url, ROOT, self._find)
        if found is None:
            return None
        account_id, file_id, end = found
        if end <= self.clock().timestamp():
            raise UrlNotAllowed(f"the uploaded file {file_id} has expired; upload it again")
        return self.objects.presign(file_key(account_id, file_id), OWN_READ_SECONDS)

    def _find(self, path: str) -> tuple[str, str, int] | None:
        """Return account, id and end in Unix time of a link; None if the service has not made it."""
        found = _LINK.fullmatch(path)
        if found is None:
            return None
        parts = (found["account"], found["file"], found["expires"])
        if not self.codes.is_valid(found["code"], *parts):
            return None
        return found["account"], found["file"], int(found["expires"])

    async def _make_room(self, account_id: str, size: int) -> None:
        """Delete the account's expired files. Raises Forbidden if a file of this size has no room."""
        before = self.clock() - LIFETIME
        entries = await self._entries(account_id)
        for entry in entries:
            if entry.modified <= before:
                await self.objects.delete(entry.key)
        kept = [entry for entry in entries if entry.modified > before]
        total = sum(entry.size for entry in kept)
        if len(kept) >= 2 * MAX_ACCOUNT_FILES or total + size > MAX_ACCOUNT_BYTES:
            raise Forbidden(
                f"The account may have {MAX_ACCOUNT_FILES} uploaded files with {MAX_ACCOUNT_BYTES >> 20} MiB"
                f" in total, and has {len(kept) // 2} with {total >> 20} MiB; delete some, or wait: each is"
                " deleted after a day",
                code="upload_quota",
            )

    async def _entries(self, account_id: str) -> list[ListedObject]:
        next_page = self.objects.list_objects(f"{UPLOAD_PREFIX}{account_id}/")
        entries: list[ListedObject] = []
        while page := await next_page(_PAGE):
            entries += page
        return entries


#: Content type of a file for which none is known.
DEFAULT_TYPE = "application/octet-stream"


def safe_name(name: str) -> str:
    """Return a file's name that is safe in paths and headers."""
    return _UNSAFE_IN_NAME.sub("_", name)[-MAX_NAME:].lstrip(".") or "file"


def file_not_found() -> NotFound:
    """Return the error for a file that does not exist, has expired or belongs to another account."""
    return NotFound(
        "The account has no uploaded file with this id; files are deleted after a day", code="file_not_found"
    )


def _checked_key(account_id: str, file_id: str) -> str:
    if not is_file_id(file_id):
        raise file_not_found()
    return file_key(account_id, file_id)


def _to_json(file: UploadedFile) -> bytes:
    fields = {name: getattr(file, name) for name in UploadedFile.__dataclass_fields__}
    return json.dumps(fields | {"created_at": file.created_at.isoformat()}).encode()


def _from_json(raw: bytes) -> UploadedFile:
    fields = json.loads(raw)
    return UploadedFile(**fields | {"created_at": datetime.fromisoformat(fields["created_at"])})
