"""Files of Replicate's API: upload, list, get and delete; and downloads by the links of uploaded files."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from orchestrator.errors import invalid_field, missing_field
from orchestrator.intake.uploaded_files import ROOT, UploadedFile, UploadedFiles, file_not_found
from orchestrator.media.errors import ObjectNotFound
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.replicate.schemas import (
    FileUploadBody,
    FileUrls,
    ReplicateFile,
    ReplicateFilePage,
)
from orchestrator.web.dialects.replicate.translation import format_time
from orchestrator.web.http.bodies import read_form
from orchestrator.web.http.multipart import FormField
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.ranges import RANGE_RESPONSES, FileInfo, build_file_response
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import Access, openapi_operation

_FIELDS = frozenset({"content", "filename", "type", "metadata"})


class ReplicateFileRoutes:
    """The caller's uploaded files."""

    def __init__(self, files: UploadedFiles, public_url: str | None) -> None:
        self._files = files
        self._public_url = public_url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/files", self.create_file),
            web.get("/v1/files", self.list_files),
            web.get("/v1/files/{id}", self.get_file),
            web.delete("/v1/files/{id}", self.delete_file),
            web.get(f"{ROOT}/{{account}}/{{id}}/{{expires}}/{{code}}/{{name}}", self.download),
        ]

    @openapi_operation(
        body=FileUploadBody, accepts_form=True, response=ReplicateFile, status=201, tag="replicate"
    )
    async def create_file(self, request: web.Request) -> web.Response:
        """Create a file by uploading it.

        A multipart form with the file as `content`. `urls.get` of the response may be an input of a
        prediction; the file is deleted after a day.
        """
        key = await authenticate(request)
        parts = {part.name: part for part in await read_form(request)}
        unknown = next((name for name in parts if name not in _FIELDS), None)
        if unknown is not None:
            raise invalid_field(
                unknown[:60], f"is not a field of this form; it has {', '.join(sorted(_FIELDS))}"
            )
        content = parts.get("content")
        if content is None:
            raise missing_field("content")
        file = await self._files.add(
            key.account.id,
            content.value.encode() if isinstance(content.value, str) else content.value,
            name=_text(parts, "filename") or content.filename or "file",
            content_type=_text(parts, "type") or content.content_type,
            metadata=_metadata(parts.get("metadata")),
        )
        return json_response(self._to_file(request, file), status=201)

    @openapi_operation(response=ReplicateFilePage, tag="replicate")
    async def list_files(self, request: web.Request) -> web.Response:
        """List uploaded files.

        Returns the latest hundred, newest first.
        """
        key = await authenticate(request)
        files = await self._files.list_files(key.account.id)
        results = [self._to_file(request, file) for file in files]
        return json_response(ReplicateFilePage(previous=None, next=None, results=results))

    @openapi_operation(response=ReplicateFile, tag="replicate")
    async def get_file(self, request: web.Request) -> web.Response:
        """Get the description of an uploaded file."""
        key = await authenticate(request)
        file = await self._files.get(key.account.id, request.match_info["id"])
        return json_response(self._to_file(request, file))

    @openapi_operation(status=204, response_description="The file is deleted.", tag="replicate")
    async def delete_file(self, request: web.Request) -> web.Response:
        """Delete an uploaded file."""
        key = await authenticate(request)
        await self._files.delete(key.account.id, request.match_info["id"])
        return web.Response(status=204)

    @openapi_operation(
        access=Access.NONE,
        content_types=("application/octet-stream", "image/png", "image/jpeg"),
        other_responses=RANGE_RESPONSES,
        tag="replicate",
    )
    async def download(self, request: web.Request) -> web.StreamResponse:
        """Download an uploaded file by its link.

        The link needs no API key; it ends with the file, a day after the upload.
        """
        file = await self._files.resolve(request.path)
        try:
            data = await self._files.objects.get(file.key)
        except ObjectNotFound as error:
            raise file_not_found() from error
        info = FileInfo(
            size=file.size,
            content_type=file.content_type,
            filename=file.name,
            etag=file.md5,
            # The service vouches for no upload: browsers save it instead of running it.
            attachment=True,
        )
        return build_file_response(request, info, data)

    def _to_file(self, request: web.Request, file: UploadedFile) -> ReplicateFile:
        base = public_base_url(request, self._public_url)
        return ReplicateFile(
            id=file.id,
            name=file.name,
            content_type=file.content_type,
            size=file.size,
            etag=file.md5,
            checksums={"sha256": file.sha256, "md5": file.md5},
            metadata=dict(file.metadata),
            created_at=format_time(file.created_at) or "",
            expires_at=format_time(file.expires_at) or "",
            urls=FileUrls(get=f"{base}/v1/files/{file.id}"),
        )


def _text(parts: dict[str, FormField], name: str) -> str:
    part = parts.get(name)
    if part is None:
        return ""
    if isinstance(part.value, bytes):
        raise invalid_field(name, "must be text, not a file")
    return part.value.strip()


def _metadata(part: FormField | None) -> dict[str, Any]:
    """Return the metadata of a form. Raises InvalidRequest unless it is a JSON object."""
    if part is None or not part.value:
        return {}
    try:
        parsed = json.loads(part.value)
    except (ValueError, RecursionError) as error:
        raise invalid_field("metadata", "must be a JSON object") from error
    if not isinstance(parsed, dict):
        raise invalid_field("metadata", "must be a JSON object")
    return parsed
