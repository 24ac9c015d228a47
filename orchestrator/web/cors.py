"""CORS: which web pages of other origins may call the API, and what they may read of its responses.

Access never includes cookies: no response allows credentials, so that a page needs an API key of its own. The
dashboard, the admin API, metrics and the payment webhook are closed to other origins.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.errors import Forbidden

ANY_ORIGIN = "*"
#: Paths that no page of another origin may call.
_CLOSED_PATHS = re.compile(
    r"/($|(billing|keys|operations|sign-in|session|docs|metrics)/?$|(admin|dashboard|payments)(/|$))"
)
#: Paths that pages of all origins may read, whatever the setting says: they need no key.
_PUBLIC_PATHS = re.compile(
    r"/(openapi\.json|api/openapi|llms\.txt|api/v1/images/models|(api/)?v1/models(/[^/]+(/schema)?)?)/?$"
)
_READ_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: Request headers of the dialects and of the official SDKs. A preflight may ask for others as well.
ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Accept",
    "Idempotency-Key",
    "Prefer",
    "Cancel-After",
    "X-Fal-Queue-Priority",
    "X-Fal-Request-Timeout",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Range",
    "Last-Event-ID",
    "Ocp-Apim-Subscription-Key",
    "X-Api-Key",
    "X-Secret-Key",
    "X-Webhook-URL",
    "X-Request-Id",
    "OpenAI-Organization",
    "OpenAI-Project",
    "OpenAI-Beta",
    "X-Stainless-Arch",
    "X-Stainless-Helper-Method",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Poll-Helper",
    "X-Stainless-Custom-Poll-Interval",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
#: Response headers that scripts may read besides those that browsers always show.
EXPOSED_HEADERS = (
    "Accept-Encoding",
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Location",
    "OpenAI-Poll-After-Ms",
    "Openai-Processing-Ms",
    "Preference-Applied",
    "Retry-After",
    "X-Fal-Request-Id",
    "X-PixelFactory-Job",
    "X-PixelFactory-Simulated",
    "X-PixelFactory-Warnings",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
    "X-Should-Retry",
)
#: For errors of connections, which are no responses of an operation: every page may know of them.
CONNECTION_ERROR_HEADERS: dict[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: ANY_ORIGIN,
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: ", ".join(EXPOSED_HEADERS),
}
#: How long a browser remembers a preflight, in seconds: the longest that Chromium accepts.
PREFLIGHT_SECONDS = 7200
#: Further header names that one preflight may ask for.
_MAX_REQUESTED_HEADERS = 64
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_REPEATED_SLASHES = re.compile(r"/{2,}")


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins whose pages may call the API."""

    #: `scheme://host[:port]` in lower case, or `*` for all.
    origins: frozenset[str]

    @classmethod
    def of(cls, origins: Collection[str]) -> CorsPolicy:
        return cls(frozenset(origins))

    def allowed_origin(self, method: str, path: str, origin: str | None) -> str | None:
        """Return the value of `Access-Control-Allow-Origin`, or None if the origin may not read this."""
        path = _REPEATED_SLASHES.sub("/", path)
        if _CLOSED_PATHS.match(path):
            return None
        if ANY_ORIGIN in self.origins or (method in _READ_METHODS and _PUBLIC_PATHS.match(path)):
            return ANY_ORIGIN
        return origin if origin is not None and origin.lower() in self.origins else None

    def depends_on_origin(self, path: str) -> bool:
        """Return whether caches must keep the responses to several origins apart."""
        return ANY_ORIGIN not in self.origins and not _CLOSED_PATHS.match(_REPEATED_SLASHES.sub("/", path))

    async def set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let pages read this response, streams and errors included (an `on_response_prepare` handler)."""
        if _is_preflight(request):
            return
        if self.depends_on_origin(request.path):
            _add_vary(response, hdrs.ORIGIN)
        allowed = self.allowed_origin(request.method, request.path, request.headers.get(hdrs.ORIGIN))
        if allowed is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(EXPOSED_HEADERS)


def cors_middleware(policy: CorsPolicy) -> Middleware:
    """Return the middleware that answers preflights: browsers send them before they send a request.

    They succeed at paths and for methods that do not exist too, so that scripts can read the error response
    to the request itself. They need no key and do not count against a rate limit.
    """

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_preflight(request) or _CLOSED_PATHS.match(_REPEATED_SLASHES.sub("/", request.path)):
            return await handler(request)
        method = request.headers[hdrs.ACCESS_CONTROL_REQUEST_METHOD].strip()
        allowed = policy.allowed_origin(method, request.path, request.headers[hdrs.ORIGIN])
        if allowed is None:
            raise Forbidden(
                "Pages of this origin may not call the API; the operator lists the origins in"
                " PIXELFACTORY_CORS_ORIGINS",
                code="origin_not_allowed",
            )
        response = web.Response(status=204, headers=_preflight_headers(request, allowed))
        if policy.depends_on_origin(request.path):
            _add_vary(response, hdrs.ORIGIN)
        return response

    return handle_request


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def _preflight_headers(request: web.Request, allowed_origin: str) -> dict[str, str]:
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: allowed_origin,
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: ALLOWED_METHODS,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join((*ALLOWED_HEADERS, *_further_headers(request))),
        hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
        hdrs.VARY: hdrs.ACCESS_CONTROL_REQUEST_HEADERS,
    }


def _further_headers(request: web.Request) -> list[str]:
    """Return the requested headers that are not in the list: browsers' extensions and new SDKs add some.

    None of them carries a right, since cookies are never allowed.
    """
    known = {name.lower() for name in ALLOWED_HEADERS}
    requested = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").split(",")
    names = dict.fromkeys(name.strip().lower() for name in requested[:_MAX_REQUESTED_HEADERS])
    return [name for name in names if name not in known and _HEADER_NAME.fullmatch(name)]


def _add_vary(response: web.StreamResponse, name: str) -> None:
    present = response.headers.get(hdrs.VARY)
    response.headers[hdrs.VARY] = f"{present}, {name}" if present else name
