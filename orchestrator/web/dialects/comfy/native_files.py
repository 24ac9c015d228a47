"""ComfyUI's own API: uploads, downloads, and what the server is."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.execution.results.media_origins import DerivedMediaMarker
from orchestrator.intake.graph_files import GraphFiles
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.media.errors import CorruptMedia, ImageTooLarge, LosesFrames
from orchestrator.media.formats import ImageEncoding
from orchestrator.own_graphs.result_names import NamedOutput, name_outputs
from orchestrator.own_graphs.values import is_unsafe_path
from orchestrator.web.dialects.comfy.bodies import ComfyUiBody, ComfyUiList
from orchestrator.web.dialects.comfy.graph_jobs import GraphJobs, authenticate_graphs, send_result
from orchestrator.web.dialects.comfy.native_routes import both
from orchestrator.web.dialects.comfy.native_websocket import FEATURES
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.http.bodies import is_form, read_form
from orchestrator.web.http.multipart import FormField
from orchestrator.web.http.ranges import RANGE_RESPONSES, FileInfo, build_file_response
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.openapi.operation import openapi_operation

_TAG = "comfy"
#: A format, and its quality in percent: 90 unless given, as in ComfyUI.
_PREVIEW = re.compile(r"(webp|jpeg)(?:;(\d{1,3}))?", re.ASCII)


class NativeFileRoutes:
    """Files of the caller, and what runs graphs."""

    def __init__(
        self,
        jobs: GraphJobs,
        sender: ResultSender,
        fleet: FleetInstances,
        *,
        marker: DerivedMediaMarker,
        version: str,
    ) -> None:
        """`version` is that of the ComfyUI whose nodes are allowed."""
        self._jobs = jobs
        self._files: GraphFiles = jobs.preparer.files
        self._sender = sender
        self._fleet = fleet
        self._marker = marker
        self._version = version

    def routes(self) -> list[web.RouteDef]:
        return [
            *both(web.post, "/upload/image", self.upload),
            *both(web.post, "/upload/mask", self.upload),
            *both(web.get, "/view", self.view),
            *both(web.get, "/system_stats", self.get_system_stats),
            *both(web.get, "/features", self.get_features),
            *both(web.get, "/embeddings", self.list_nothing),
            *both(web.get, "/extensions", self.list_nothing),
        ]

    @openapi_operation(
        accepts_form=True, response=ComfyUiBody, response_description="`name`, `subfolder`, `type`.", tag=_TAG
    )
    async def upload(self, request: web.Request) -> web.Response:
        """Send a file for graphs of yours: the form field `image`, and `overwrite`, `subfolder`.

        A name that means another file of yours gets a number, unless `overwrite` is `true`.
        """
        key = await authenticate_graphs(request)
        form = await read_form(request) if is_form(request) else []
        upload = next((field for field in form if field.name == "image"), None)
        texts = {field.name: _text_of(field) for field in form if field.name != "image"}
        if upload is None or not upload.filename:
            raise InvalidRequest(
                "Send a multipart form with the file `image`", code="invalid_request", param="image"
            )
        name = _file_name(upload, texts.get("subfolder", ""))
        if texts.get("type", "input") not in ("input", "temp"):
            raise InvalidRequest("`type` must be `input` or `temp`", code="invalid_type", param="type")
        data = upload.value if isinstance(upload.value, bytes) else upload.value.encode()
        file, _ = await self._files.add(key.account.id, data, upload.content_type[:100], name)
        overwrite = texts.get("overwrite", "").lower() in ("true", "1")
        name = name if overwrite else await self._free_name(key.account.id, name, file.id)
        await self._files.set_name(key.account.id, name, file)
        folder, _, last = name.rpartition("/")
        return web.json_response({"name": last, "subfolder": folder, "type": "input"})

    async def _free_name(self, account_id: str, name: str, file_id: str) -> str:
        """Return the name, with a number if it means another file."""
        stem, dot, extension = name.rpartition(".")
        for number in range(100):
            tried = (
                name
                if number == 0
                else f"{stem or extension} ({number}){dot if stem else ''}{extension if stem else ''}"
            )
            found = await self._files.find_by_name(account_id, tried)
            if found is None or found.id == file_id:
                return tried
        raise InvalidRequest(
            "A hundred files have this name; send `overwrite=true` or another name", code="invalid_request"
        )

    @openapi_operation(content_types=("image/png", "video/mp4"), other_responses=RANGE_RESPONSES, tag=_TAG)
    async def view(self, request: web.Request) -> web.StreamResponse:
        """Download a result or an upload of yours: `filename`, `subfolder`, `type`.

        `preview=webp;80` converts an image.
        """
        key = await authenticate_graphs(request)
        name, folder = request.query.get("filename", ""), request.query.get("subfolder", "").strip("/")
        kind = request.query.get("type", "output")
        if (
            not name
            or is_unsafe_path(name)
            or is_unsafe_path(folder)
            or kind not in ("output", "input", "temp")
        ):
            raise InvalidRequest(
                "`filename`, `subfolder` and `type` must be those of a file that a response names (got"
                f" {name[:80]!r}, {folder[:80]!r}, {kind[:20]!r})",
                code="invalid_filename",
                param="filename",
            )
        if kind == "input":
            return await self._send_upload(request, key.account.id, f"{folder}/{name}" if folder else name)
        record, named = await self._find_result(key.account.id, folder, name)
        if (wanted := _PREVIEW.fullmatch(request.query.get("preview", ""))) is not None:
            return await self._send_preview(
                record.job, named, ImageEncoding(f"image/{wanted[1]}", max(1, min(int(wanted[2] or 90), 100)))
            )
        return await send_result(request, self._sender, record, named)

    async def _find_result(self, account_id: str, folder: str, name: str) -> tuple[JobRecord, NamedOutput]:
        """Return a result by the folder of its job. Raises NotFound, also for those of other accounts."""
        missing = NotFound(
            f"You have no result {name[:100]!r} in the subfolder {folder[:100]!r}; GET /history names all",
            code="output_not_found",
        )
        try:
            record = await self._jobs.get(account_id, job_id_from_uuid(folder))
        except NotFound as error:
            raise missing from error
        found = next((named for named in name_outputs(record) if named.name == name), None)
        if found is None or record.job.status is not JobStatus.SUCCEEDED:
            raise missing
        return record, found

    async def _send_preview(self, job: Job, named: NamedOutput, encoding: ImageEncoding) -> web.Response:
        data = await self._jobs.preparer.objects.get(named.output.key)
        try:
            converted = await asyncio.to_thread(encoding.encode, data)
        except (CorruptMedia, ImageTooLarge, LosesFrames) as error:
            raise InvalidRequest(
                f"`preview`: the file cannot be converted: {error}", code="invalid_preview", param="preview"
            ) from error
        marked = await self._marker.mark(job, converted, encoding.content_type)
        return web.Response(body=marked, content_type=encoding.content_type)

    async def _send_upload(self, request: web.Request, account_id: str, name: str) -> web.Response:
        file = await self._files.find_by_name(account_id, name)
        if file is None:
            raise NotFound("There is no such file", code="output_not_found")
        info = FileInfo(
            size=file.size, content_type="application/octet-stream", filename=file.id, etag=file.hash[7:39],
            attachment=True,
        )  # fmt: skip
        return build_file_response(request, info, await self._files.read(file))

    @openapi_operation(response=ComfyUiBody, response_description="`system` and `devices`.", tag=_TAG)
    async def get_system_stats(self, request: web.Request) -> web.Response:
        """Get the version, and the devices that run graphs."""
        await authenticate_graphs(request)
        devices = [
            {
                "name": info.device, "index": place,
                "type": "cpu" if info.device in ("cpu", "simulated") else "cuda",
                "vram_total": info.vram_total or 0, "vram_free": info.vram_free or 0,
                "torch_vram_total": info.vram_total or 0, "torch_vram_free": info.vram_free or 0,
            }
            for place, info in enumerate(self._fleet.instances())
        ]  # fmt: skip
        system = {
            "os": "posix", "ram_total": 0, "ram_free": 0, "comfyui_version": self._version,
            "required_frontend_version": "", "python_version": "", "pytorch_version": "",
            "embedded_python": False,
            "argv": [],
        }  # fmt: skip
        return web.json_response({"system": system, "devices": devices})

    @openapi_operation(response=ComfyUiBody, response_description="Flags.", tag=_TAG)
    async def get_features(self, request: web.Request) -> web.Response:
        """Get what this API can do."""
        await authenticate_graphs(request)
        return web.json_response({**FEATURES, "assets": False, "node_replacements": False})

    @openapi_operation(response=ComfyUiList, response_description="An empty list.", tag=_TAG)
    async def list_nothing(self, request: web.Request) -> web.Response:
        """List what the service does not have."""
        await authenticate_graphs(request)
        return web.json_response([])


def _text_of(field: FormField) -> str:
    """Return the value of a field; some clients send texts as files."""
    return field.value if isinstance(field.value, str) else field.value[:1000].decode("utf-8", "replace")


def _file_name(upload: FormField, folder: str) -> str:
    """Return the name of an upload. Raises InvalidRequest for one that leads out of the caller's folder."""
    name = f"{folder.strip('/')}/{upload.filename}" if folder.strip("/") else upload.filename
    if is_unsafe_path(name) or is_unsafe_path(folder) or "\\" in name:
        raise InvalidRequest(
            "The file's name and `subfolder` must not be absolute or lead out of the folder",
            code="invalid_filename",
            param="image",
        )
    return name
