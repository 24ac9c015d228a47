"""Downloads of results by links at the service's own address (see `ResultLinks`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from orchestrator.execution.results.result_links import OWN_READ_SECONDS, ROOT, ResultLinks, result_not_found
from orchestrator.jobs import JobRecord
from orchestrator.media.errors import ObjectNotFound
from orchestrator.web.http.ranges import RANGE_RESPONSES
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.openapi.operation import Access, openapi_operation

REDIRECT_RESPONSE = {
    307: "The file is at the presigned URL in `Location`; only if the operator has set"
    " `PIXELFACTORY_RESULT_LINKS` to `redirect`."
}


class ResultFileRoutes:
    """`GET` and `HEAD` of result links."""

    def __init__(
        self,
        links: ResultLinks,
        sender: ResultSender,
        find_job: Callable[[str], Awaitable[JobRecord | None]],
        *,
        redirects: bool,
    ) -> None:
        """`redirects`: send callers to object storage instead of sending the files."""
        self._links = links
        self._sender = sender
        self._find_job = find_job
        self._redirects = redirects

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{ROOT}/{{job}}/{{expires}}/{{code}}/{{folder}}/{{part}}/{{file}}", self.download)]

    @openapi_operation(
        access=Access.NONE,
        content_types=("image/png", "image/jpeg", "image/webp", "video/mp4"),
        other_responses=RANGE_RESPONSES | REDIRECT_RESPONSE,
        tag="jobs",
    )
    async def download(self, request: web.Request) -> web.StreamResponse:
        """Download a result.

        The address is a URL of a response with results and needs no API key; it expires. `Range` requests a
        part of the file.
        """
        link = self._links.resolve(request.path)
        record = await self._find_job(link.job_id)
        if record is None or record.job.removed_at is not None:
            raise result_not_found()
        try:
            info = await self._sender.file_info(link.key)
            if self._redirects and request.method != "HEAD":
                url = self._sender.objects.presign(link.key, OWN_READ_SECONDS)
                raise web.HTTPTemporaryRedirect(url)
            return await self._sender.send(request, record, link.key, info)
        except ObjectNotFound as error:
            raise result_not_found() from error
