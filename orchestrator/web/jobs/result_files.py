"""Downloads of results by links at the service's own address (see `ResultLinks`)."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import NotFound
from orchestrator.execution.result_links import ROOT, ResultLinks
from orchestrator.fair_slots import FairSlots
from orchestrator.jobs.objects import object_owner
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore
from orchestrator.web.http.ranges import (
    RANGE_RESPONSES,
    DownloadFile,
    build_file_response,
    build_head_response,
)
from orchestrator.web.openapi.operation import Access, openapi_operation


class ResultFileRoutes:
    """`GET` and `HEAD` of result links."""

    def __init__(self, links: ResultLinks, objects: ObjectStore) -> None:
        self._links = links
        self._objects = objects
        # Each holds a whole file in memory.
        self._slots = FairSlots("result files", 8, per_account=4, max_waiting=1024)

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{ROOT}/{{expires}}/{{code}}/{{folder}}/{{part}}/{{file}}", self.download)]

    @openapi_operation(
        access=Access.NONE,
        content_types=("image/png", "image/jpeg", "image/webp", "video/mp4"),
        other_responses=RANGE_RESPONSES,
        tag="images",
    )
    async def download(self, request: web.Request) -> web.Response:
        """Download a result.

        The address is a `url` of a response with images and needs no API key; it expires. `Range` requests a
        part of the file.
        """
        key = self._links.find_key(request.path)
        try:
            stat = await self._objects.stat(key)
            if request.method == "HEAD":
                return build_head_response(stat.size, stat.content_type)
            async with self._slots.slot(object_owner(key) or key):
                data = await self._objects.get(key)
        except ObjectNotFound as error:
            raise NotFound("The result has expired and was deleted", code="output_not_found") from error
        name = key.rpartition("/")[2]
        return build_file_response(
            request, DownloadFile(data=data, content_type=stat.content_type, filename=name, etag=stat.etag)
        )
