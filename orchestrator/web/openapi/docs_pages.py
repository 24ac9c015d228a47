"""`/openapi.json` for programs, `/docs` for people: the same document."""

from __future__ import annotations

import json
from importlib import resources

from aiohttp import web
from jinja2 import Environment

from orchestrator.web.openapi.document import METHODS, build_openapi_document

#: The page is made of itself alone.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class DocsRoutes:
    """Both are made once, when they are first asked for."""

    def __init__(self) -> None:
        self._document_json: str | None = None
        self._docs_html: str | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/openapi.json", self.get_openapi_document), web.get("/docs", self.get_docs_page)]

    async def get_openapi_document(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        if self._document_json is None:
            self._document_json = json.dumps(build_openapi_document(request.app))
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(text=self._document_json, content_type="application/json", headers=headers)

    async def get_docs_page(self, request: web.Request) -> web.Response:
        """The document as a page."""
        if self._docs_html is None:
            self._docs_html = render_docs_page(build_openapi_document(request.app))
        return web.Response(text=self._docs_html, content_type="text/html", headers=PAGE_HEADERS)


def render_docs_page(openapi_document: dict[str, object]) -> str:
    """A page without scripts and without anything from elsewhere."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((resources.files(__package__) / "docs.html").read_text("utf-8"))
    methods = [method.lower() for method in METHODS]
    return template.render(document=openapi_document, methods=methods)
