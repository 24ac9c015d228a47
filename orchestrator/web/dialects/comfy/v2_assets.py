"""Comfy API v2: assets, which are uploaded files and results of earlier jobs."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from orchestrator.errors import Conflict, Gone, InvalidRequest, NotFound
from orchestrator.intake.graph_files import HASH_PATTERN, GraphFile, GraphFiles
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.own_graphs.result_names import NamedOutput, name_outputs
from orchestrator.store import ApiKey
from orchestrator.web.dialects.comfy.graph_jobs import authenticate_graphs, send_result
from orchestrator.web.dialects.comfy.v2_schemas import V2Asset, V2FromHashBody
from orchestrator.web.dialects.comfy.v2_views import V2Views, parse_result_id, result_id
from orchestrator.web.http.bodies import is_form, read_form, read_json
from orchestrator.web.http.ranges import RANGE_RESPONSES, FileInfo, build_file_response
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.openapi.operation import openapi_operation

_TAG = "comfy"
_URL_LIFETIME = timedelta(hours=24)


class V2AssetRoutes:
    """Upload, look up, download and delete files of callers' own graphs."""

    def __init__(self, views: V2Views, files: GraphFiles, sender: ResultSender) -> None:
        self._views = views
        self._files = files
        self._sender = sender

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v2/assets", self.upload),
            web.post("/api/v2/assets/from-hash", self.take_from_hash),
            web.head("/api/v2/assets/by-hash/{hash}", self.check_hash),
            web.get("/api/v2/assets/{id}", self.get_asset),
            web.delete("/api/v2/assets/{id}", self.delete_asset),
            web.get("/api/v2/assets/{id}/content", self.download),
        ]

    @openapi_operation(
        accepts_form=True,
        response=V2Asset,
        status=201,
        other_responses={200: "The account has these bytes already."},
        tag=_TAG,
    )
    async def upload(self, request: web.Request) -> web.Response:
        """Send a file for graphs.

        A form with `file`, and optionally `content_type`, `file_path` and `expected_hash` (`blake3:...`).
        """
        key = await authenticate_graphs(request)
        if not is_form(request):
            raise InvalidRequest(
                "Send a multipart form with the field `file`", code="invalid_request", param="file"
            )
        form = await read_form(request)
        texts = {field.name: field.value for field in form if isinstance(field.value, str)}
        upload = next((field for field in form if field.name == "file"), None)
        if upload is None:
            raise InvalidRequest("`file` is required", code="invalid_request", param="file")
        data = upload.value.encode() if isinstance(upload.value, str) else upload.value
        name = str(texts.get("file_path") or upload.filename or "")
        content_type = str(texts.get("content_type") or upload.content_type or "application/octet-stream")
        await self._check_expected(texts.get("expected_hash"), data)
        file, is_new = await self._files.add(key.account.id, data, content_type[:100], name)
        return self._respond(request, file, status=201 if is_new else 200, is_new=is_new)

    async def _check_expected(self, expected: object, data: bytes) -> None:
        if isinstance(expected, str) and expected and expected != await self._files.hash_of(data):
            raise Conflict(
                "`expected_hash` is not the hash of the bytes that arrived; send the file again",
                code="hash_mismatch",
                param="expected_hash",
            )

    @openapi_operation(body=V2FromHashBody, response=V2Asset, status=201, tag=_TAG)
    async def take_from_hash(self, request: web.Request) -> web.Response:
        """Create a further name of a file whose bytes the account has uploaded before."""
        key = await authenticate_graphs(request)
        fields = await read_json(request)
        hash, name = fields.get("hash"), fields.get("file_path")
        if not isinstance(hash, str) or not HASH_PATTERN.fullmatch(hash):
            raise InvalidRequest(
                "`hash` must be `blake3:` and 64 hexadecimal digits", code="invalid_request", param="hash"
            )
        file = await self._files.find_by_hash(key.account.id, hash)
        if file is None:
            raise NotFound("The account has no file with this hash; upload it", code="blob_not_found")
        file = await self._files.rename(file, name if isinstance(name, str) else "")
        return self._respond(request, file, status=200)

    @openapi_operation(response_description="The account has the file.", content_types=(), tag=_TAG)
    async def check_hash(self, request: web.Request) -> web.Response:
        """Check whether the account has uploaded a file, by its hash."""
        key = await authenticate_graphs(request)
        hash = request.match_info["hash"]
        found = HASH_PATTERN.fullmatch(hash) and await self._files.find_by_hash(key.account.id, hash)
        return web.Response(status=200 if found else 404)

    @openapi_operation(response=V2Asset, tag=_TAG)
    async def get_asset(self, request: web.Request) -> web.Response:
        """Get a file, or a result of a job."""
        key = await authenticate_graphs(request)
        id = request.match_info["id"]
        if (found := await self._find_result(key, id)) is not None:
            return json_response(self._result(request, *found))
        return self._respond(request, await self._require_file(key, id))

    @openapi_operation(response_description="The file is deleted.", content_types=(), status=204, tag=_TAG)
    async def delete_asset(self, request: web.Request) -> web.Response:
        """Delete an uploaded file.

        Jobs that use it keep copies. Results are deleted with their job.
        """
        key = await authenticate_graphs(request)
        if await self._find_result(key, request.match_info["id"]) is not None:
            raise Conflict(
                "A result belongs to its job; delete the job: DELETE /api/v1/jobs/{id}", code="asset_in_use"
            )
        await self._files.delete(await self._require_file(key, request.match_info["id"]))
        return web.Response(status=204)

    @openapi_operation(
        content_types=("image/png", "video/mp4", "application/octet-stream"),
        other_responses=RANGE_RESPONSES,
        tag=_TAG,
    )
    async def download(self, request: web.Request) -> web.StreamResponse:
        """Download a file, or a result of a job. `Range` requests a part."""
        key = await authenticate_graphs(request)
        id = request.match_info["id"]
        if (found := await self._find_result(key, id)) is not None:
            record, named = found
            return await send_result(request, self._sender, record, named)
        file = await self._require_file(key, id)
        info = FileInfo(
            size=file.size, content_type="application/octet-stream", filename=file.id, etag=file.hash[7:39],
            attachment=True,
        )  # fmt: skip
        return build_file_response(request, info, await self._files.read(file))

    async def _find_result(self, key: ApiKey, id: str) -> tuple[JobRecord, NamedOutput] | None:
        """Return a result of a succeeded job of the account; None for the id of another asset."""
        parsed = parse_result_id(id)
        if parsed is None:
            return None
        try:
            record = await self._views.jobs.get(key.account.id, parsed[0])
        except (NotFound, Gone) as error:
            raise _not_found(id) from error
        named = name_outputs(record)
        if record.job.status is not JobStatus.SUCCEEDED or parsed[1] >= len(named):
            raise _not_found(id)
        return record, named[parsed[1]]

    async def _require_file(self, key: ApiKey, id: str) -> GraphFile:
        file = await self._files.find(key.account.id, id)
        if file is None:
            raise _not_found(id)
        return file

    def _respond(
        self, request: web.Request, file: GraphFile, *, status: int = 200, is_new: bool = False
    ) -> web.Response:
        expires = self._files.expires_at(file)
        body = V2Asset(
            id=file.id,
            hash=file.hash,
            size_bytes=file.size,
            content_type=file.content_type,
            created_at=file.created_at,
            expires_at=expires,
            url=f"{self._views.base_url(request)}/api/v2/assets/{file.id}/content",
            url_expires_at=expires,
            file_path=file.name,
            job_id=None,
            created_new=is_new,
        )
        return json_response(body, status=status)

    def _result(self, request: web.Request, record: JobRecord, named: NamedOutput) -> V2Asset:
        job, output = record.job, named.output
        expires = self._views.jobs.expires_at(job)
        id = result_id(job.id, named.index)
        return V2Asset(
            id=id,
            hash=f"blake3:{output.blake3}" if output.blake3 else None,
            size_bytes=output.size,
            content_type=output.content_type,
            created_at=job.finished_at or job.created_at,
            expires_at=expires,
            url=f"{self._views.base_url(request)}/api/v2/assets/{id}/content",
            url_expires_at=expires,
            file_path=named.name,
            job_id=job.id,
            created_new=False,
        )


def _not_found(id: str) -> NotFound:
    return NotFound(f"Asset {id[:60]!r} does not exist, or has expired", code="asset_not_found")
