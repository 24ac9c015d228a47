"""Requests of commands to the running service, with errors in one line."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer

from comfy_instances.log_text import error_text
from orchestrator.app.operator_secrets import find_admin_token
from orchestrator.cli.service_access.service_choice import (
    describe_search,
    find_service_url,
    read_service_settings,
)
from orchestrator.cli.terminal.console import CliError
from orchestrator.cli.terminal.user_name import user_name
from orchestrator.logs import printable

#: Seconds in which the service must accept a connection, and begin to answer.
CONNECT_SECONDS, ANSWER_SECONDS = 10, 120
#: Jobs that are asked for at once.
PAGE_SIZE = 100
KeyOption = Annotated[str, typer.Option(envvar="PIXELFACTORY_API_KEY", hidden=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceClient:
    """A connection to the service with an API key or the admin token."""

    url: str
    http: aiohttp.ClientSession
    #: Appended to the error of a request that is not authenticated.
    hint: str = ""
    #: Whether errors begin with the status of the response.
    shows_status: bool = True

    async def request(self, method: str, path: str, **options: Any) -> str:
        """Send a request and return the body of the response. Raises CliError with the service's message."""
        async with self.http.request(method, f"{self.url}{path}", **options) as response:
            body = await response.text(errors="replace")
        if response.status >= 400:
            hint = self.hint if response.status in (401, 403) else ""
            status = f"{response.status}: " if self.shows_status else ""
            raise CliError(f"{status}{parse_error_message(body, response.status)}{hint}")
        return body

    async def request_json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send a request and return the JSON object of the response. Raises CliError."""
        body = await self.request(method, path, **options)
        try:
            return dict(json.loads(body))
        except (ValueError, TypeError) as error:
            raise CliError(
                f"{self.url} is no Pixel Factory service: its response is no JSON object"
            ) from error

    async def list_jobs(
        self, path: str, filters: Mapping[str, str], limit: int, *, cursor_name: str
    ) -> list[dict[str, Any]]:
        """Return up to `limit` jobs, page by page; `cursor_name` is the field of the next page's cursor."""
        jobs: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(jobs) < limit:
            query = {**filters, "limit": str(min(PAGE_SIZE, limit - len(jobs)))}
            query |= {"cursor": cursor} if cursor else {}
            page = await self.request_json("GET", path, params=query)
            jobs += page["jobs"]
            cursor = page[cursor_name]
            if cursor is None:
                break
        return jobs


@asynccontextmanager
async def connect(
    url: str, secret: str, hint: str = "", *, shows_status: bool = True, operator: str = ""
) -> AsyncIterator[ServiceClient]:
    """Connect to the service at `url`. Errors of the connection become a CliError that names it.

    `operator` is who the log of changes names for what is changed.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {secret}"} | ({"X-Operator": operator} if operator else {})
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
            yield ServiceClient(url=url, http=http, hint=hint, shows_status=shows_status)
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = _connection_reason(error)
        raise CliError(
            f"the service is unreachable at {url}: {printable(reason)}; is it running? Name it with --url or"
            " PIXELFACTORY_URL"
        ) from error
    except ValueError as error:
        # A key or a token with a line break, or with characters that no header may have.
        raise CliError(f"the request cannot be sent: {printable(str(error))}") from error


def _connection_reason(error: Exception) -> str:
    """Return what the system says where no connection was made, and else what the library says."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        number = error.os_error.errno
        # Errors of name resolution have negative numbers, and texts of their own.
        return os.strerror(number) if number > 0 else error.os_error.strerror or error_text(error)
    return error_text(error)


@asynccontextmanager
async def connect_as_caller(url: str | None, key: str) -> AsyncIterator[ServiceClient]:
    """Connect with an API key. Raises CliError if there is none."""
    if not key.strip():
        raise CliError("PIXELFACTORY_API_KEY is not set; create a key with `pixelfactory keys create`")
    async with connect(find_service_url(url), key.strip()) as client:
        yield client


@asynccontextmanager
async def connect_as_operator(url: str | None, data_dir: Path | None) -> AsyncIterator[ServiceClient]:
    """Connect with the admin token of the service. Raises CliError if it is not found."""
    place = find_service_url(url, data_dir)
    settings = read_service_settings(data_dir, url=place)
    token = find_admin_token(settings)
    if token is None:
        raise CliError(
            "there is no admin token: the service writes it to DATA_DIR/admin-token at its first start."
            f" Looked in {describe_search(settings, data_dir)}; name the directory of the service with"
            " --data-dir, or set PIXELFACTORY_ADMIN_TOKEN"
        )
    source = (
        "PIXELFACTORY_ADMIN_TOKEN" if settings.admin_token is not None else settings.data_dir / "admin-token"
    )
    hint = f" (used {source}; --data-dir must name the directory of the service at {place})"
    operator = f"{user_name()}, command line"
    async with connect(place, token, hint, shows_status=False, operator=operator) as client:
        yield client


def parse_error_message(body: str, status: int) -> str:
    """Return the error message in a response body; a fallback if another server has sent it."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the service responded with status {status}"
