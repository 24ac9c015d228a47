"""`/openapi.json` for programs, `/docs` for people: the same document."""

from __future__ import annotations

import json
from importlib import resources

from aiohttp import web
from jinja2 import Environment

from orchestrator.web.openapi.document import METHODS, document

#: The page is made of itself alone.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Documents:
    """Both are made once, when they are first asked for."""

    def __init__(self) -> None:
        self._json: str | None = None
        self._page: str | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/openapi.json", self.openapi), web.get("/docs", self.docs)]

    async def openapi(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        if self._json is None:
            self._json = json.dumps(document(request.app))
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(text=self._json, content_type="application/json", headers=headers)

    async def docs(self, request: web.Request) -> web.Response:
        """The document as a page."""
        if self._page is None:
            self._page = page(document(request.app))
        return web.Response(text=self._page, content_type="text/html", headers=PAGE_HEADERS)


def page(described: dict[str, object]) -> str:
    """A page without scripts and without anything from elsewhere."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((resources.files(__package__) / "docs.html").read_text("utf-8"))
    methods = [method.lower() for method in METHODS]
    return template.render(document=described, methods=methods)
