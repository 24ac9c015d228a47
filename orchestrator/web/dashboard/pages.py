"""The pages and what they are made of: files read once, sent under a strict content policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import web

from orchestrator.errors import NotAuthenticated, NotFound
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKey
from orchestrator.web.dashboard.sessions import SessionManager

#: Pages for who has an API key.
CUSTOMER_PAGES = {"/": "playground.html", "/billing": "billing.html", "/keys": "keys.html"}
CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent."""

    body: bytes
    content_type: str
    etag: str


class PageRoutes:
    """Some pages, their styles and scripts. Nothing in them is secret."""

    def __init__(self, sessions: SessionManager, objects: ObjectStore) -> None:
        self._sessions = sessions
        self._files = load_static_files()
        self._headers = {
            "Content-Security-Policy": content_security_policy(storage_origin(objects)),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",
        }

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(path, self.get_customer_page) for path in CUSTOMER_PAGES),
            web.get("/operations", self.get_operations_page),
            web.get("/sign-in", self.get_sign_in_page),
            web.get("/dashboard/static/{name}", self.get_static_file),
        ]

    async def get_customer_page(self, request: web.Request) -> web.Response:
        if await self._require_signed_in(request) is None:
            raise web.HTTPSeeOther("/operations")
        return self._serve_file(request, CUSTOMER_PAGES[request.path])

    async def get_operations_page(self, request: web.Request) -> web.Response:
        if await self._require_signed_in(request) is not None:
            raise web.HTTPSeeOther("/")
        return self._serve_file(request, "operations.html")

    async def get_sign_in_page(self, request: web.Request) -> web.Response:
        return self._serve_file(request, "sign-in.html")

    async def get_static_file(self, request: web.Request) -> web.Response:
        return self._serve_file(request, request.match_info["name"])

    async def _require_signed_in(self, request: web.Request) -> ApiKey | None:
        """The caller's key, or None for an operator; sends everybody else to the sign-in page."""
        try:
            return await self._sessions.resolve_key(request)
        except NotAuthenticated:
            raise web.HTTPSeeOther("/sign-in") from None

    def _serve_file(self, request: web.Request, name: str) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise NotFound("There is nothing at this address", code="unknown_url")
        known = any(etag.value == file.etag for etag in request.if_none_match or ())
        response = web.Response(headers=self._headers, status=304 if known else 200)
        if not known:
            response.body = file.body
            response.content_type = file.content_type
            response.charset = "utf-8"
        response.etag = file.etag
        return response


def load_static_files() -> dict[str, StaticFile]:
    """Everything in `static`, by name."""
    folder = resources.files("orchestrator.web.dashboard.static")
    files = {}
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in CONTENT_TYPES:
            body = entry.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:16]
            files[entry.name] = StaticFile(body, CONTENT_TYPES[suffix], etag)
    return files


def storage_origin(objects: ObjectStore) -> str:
    """Scheme and host of the addresses under which browsers get stored files."""
    url = urlsplit(objects.presign("origin", 60))
    return f"{url.scheme}://{url.netloc}"


def content_security_policy(media_origin: str) -> str:
    """Only our own files run and are shown, and media from the origin `media`. No inline anything."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": f"'self' {media_origin}",
        "img-src": f"'self' blob: data: {media_origin}",
        "media-src": f"'self' blob: {media_origin}",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
