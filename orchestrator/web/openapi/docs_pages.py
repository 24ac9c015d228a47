"""Documentation: `/openapi.json` for programs, `/docs` for people, `/llms.txt` for language models.

`/docs/` is the site of all documents where it is built, and `/docs/api` the reference of the API.
"""

from __future__ import annotations

import json
import re
from importlib import resources

from aiohttp import web
from jinja2 import Environment
from markupsafe import Markup

from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.openapi.docs_site import START, DocsSite
from orchestrator.web.openapi.document import build_openapi_document
from orchestrator.web.openapi.documented_routes import METHODS
from orchestrator.web.openapi.llms_txt import render_llms_txt
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.web.protocols import ModelOffer

#: The page loads nothing from elsewhere and runs no scripts.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class DocsRoutes:
    """Routes of the documentation. Document and page are built by the first request and then kept."""

    def __init__(self, models: ModelOffer, public_url: str | None) -> None:
        """`public_url` is the URL of the service in examples; None: the origin of the request."""
        self._models = models
        self._public_url = public_url
        self._document_json: str | None = None
        self._docs_html: str | None = None
        self._site = DocsSite()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/openapi.json", self.get_openapi_document),
            web.get("/docs", self.get_docs),
            web.get("/docs/api", self.get_docs_page),
            web.get("/docs/{path:.*}", self.get_site_file),
            web.get("/llms.txt", self.get_llms_txt),
        ]

    async def get_openapi_document(self, request: web.Request) -> web.Response:
        """Return the OpenAPI document. Pages of any origin may read it."""
        if self._document_json is None:
            self._document_json = json.dumps(build_openapi_document(request.app))
        return web.Response(text=self._document_json, content_type="application/json")

    async def get_docs(self, request: web.Request) -> web.StreamResponse:
        """Lead to the site; without one, to the reference of the API."""
        if self._site.is_built:
            raise web.HTTPFound(START)
        return await self.get_docs_page(request)

    async def get_site_file(self, request: web.Request) -> web.StreamResponse:
        """Return a page of the site, or a file that its pages load."""
        return self._site.respond(request)

    async def get_docs_page(self, request: web.Request) -> web.Response:
        """Return the OpenAPI document as an HTML page."""
        if self._docs_html is None:
            self._docs_html = render_docs_page(build_openapi_document(request.app))
        return web.Response(text=self._docs_html, content_type="text/html", headers=PAGE_HEADERS)

    @openapi_operation(
        summary="Get the documentation for language models",
        description="Describes the API in Markdown with all models and prices, complete enough for an "
        "agent to "
        "create images and videos, poll jobs and verify webhooks.",
        response_description="The documentation in Markdown.",
        access=Access.NONE,
        content_types=("text/plain",),
        tag="service",
    )
    async def get_llms_txt(self, request: web.Request) -> web.Response:
        """Return the documentation for language models."""
        base_url = public_base_url(request, self._public_url)
        text = render_llms_txt(self._models.catalog, self._models.price_book, base_url)
        return web.Response(text=text, content_type="text/plain", charset="utf-8")


def render_docs_page(openapi_document: dict[str, object]) -> str:
    """Return the document as a page without scripts and external resources."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline_code"] = _mark_code
    template = environment.from_string((resources.files(__package__) / "docs.html").read_text("utf-8"))
    methods = [method.lower() for method in METHODS]
    return template.render(document=openapi_document, methods=methods)


def _mark_code(text: str) -> Markup:
    """Return a description with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )
