"""The HTML pages of the dashboard and their static files.

Templates and files are read once, at start. Pages have a strict content security policy. They name files
below a digest of all files, so that browsers keep them without asking again, and what their scripts will ask
the API for, so that the answers arrive with the scripts.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.errors import NotAuthenticated, NotFound
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKey
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.http.preconditions import check_preconditions

PACKAGE = "orchestrator.web.dashboard"
#: Content types by file suffix. Other files are not served.
CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
#: Where the files are; followed by a version, they are kept.
STATIC = "/dashboard/static"
_VERSION_LENGTH = 16
_VERSIONED = re.compile(rf"([0-9a-f]{{{_VERSION_LENGTH}}})/(.+)")
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}
#: An import of a module of the dashboard; comments only import types.
_IMPORT = re.compile(r'^(?:import|export) [^"]*"(\.{1,2}/[^"]+)";$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """A page with a template `NAME.html` and an entry script `NAME/NAME.js`."""

    path: str
    name: str
    title: str
    #: Paths below `/dashboard/api/` that its scripts ask for at once, exactly as they do.
    data: tuple[str, ...] = ()


#: Pages for callers who are signed in with an API key, in the order of the navigation.
CUSTOMER_PAGES = (
    DashboardPage("/", "playground", "Playground", ("account", "models", "jobs?limit=48")),
    DashboardPage("/billing", "billing", "Billing", ("account",)),
    DashboardPage("/keys", "keys", "Keys", ("account",)),
)
OPERATIONS_PAGE = DashboardPage("/operations", "operations", "Fleet")
#: Pages for operators, in the order of the navigation.
OPERATOR_PAGES = (
    OPERATIONS_PAGE,
    DashboardPage("/operations/queue", "queue", "Queue"),
    DashboardPage("/operations/jobs", "jobs", "Jobs"),
    DashboardPage("/operations/models", "models", "Models"),
    DashboardPage("/operations/money", "money", "Money"),
    DashboardPage("/operations/errors", "errors", "Errors"),
    DashboardPage("/operations/events", "events", "Changes"),
)
#: The page of one job, which the list of jobs leads to.
JOB_PAGE = DashboardPage("/operations/job", "job", "Job")
SIGN_IN_PAGE = DashboardPage("/sign-in", "sign-in", "Sign in")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """The content of a page or static file, also compressed."""

    body: bytes
    gzipped: bytes
    content_type: str
    etag: str

    @classmethod
    def from_body(cls, body: bytes, content_type: str) -> StaticFile:
        """Return a file whose ETag is a hash of its content."""
        gzipped = gzip.compress(body, mtime=0)
        return cls(body, gzipped, content_type, hashlib.sha256(body).hexdigest()[:16])


class PageRoutes:
    """The pages, styles and scripts. They contain no account data; the scripts load that from the API."""

    def __init__(self, sessions: SessionManager, objects: ObjectStore) -> None:
        self._sessions = sessions
        self._pages = render_pages()
        self._files = load_static_files()
        self._version = version_of(self._files)
        self._file_headers = {
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
        }
        self._page_headers = self._file_headers | {
            "Content-Security-Policy": content_security_policy(storage_origin(objects)),
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(page.path, self.get_customer_page) for page in CUSTOMER_PAGES),
            *(web.get(page.path, self.get_operator_page) for page in (*OPERATOR_PAGES, JOB_PAGE)),
            web.get(SIGN_IN_PAGE.path, self.get_sign_in_page),
            web.get(f"{STATIC}/{{path:.+}}", self.get_static_file),
        ]

    async def get_customer_page(self, request: web.Request) -> web.Response:
        """Send a page for API keys; redirect an operator to the operations page."""
        if await self._require_signed_in(request) is None:
            raise web.HTTPSeeOther(OPERATIONS_PAGE.path)
        return self._send(request, self._pages[request.path], self._page_headers)

    async def get_operator_page(self, request: web.Request) -> web.Response:
        """Send a page for operators; redirect the holder of an API key to the playground."""
        if await self._require_signed_in(request) is not None:
            raise web.HTTPSeeOther("/")
        return self._send(request, self._pages[request.path], self._page_headers)

    async def get_sign_in_page(self, request: web.Request) -> web.Response:
        """Send the sign-in page."""
        return self._send(request, self._pages[SIGN_IN_PAGE.path], self._page_headers)

    async def get_static_file(self, request: web.Request) -> web.Response:
        """Send a style sheet, script or icon."""
        versioned = _VERSIONED.fullmatch(request.match_info["path"])
        version, path = versioned.groups() if versioned else ("", request.match_info["path"])
        file = self._files.get(path)
        if file is None:
            raise NotFound(f"Not found: {request.method} {request.path}", code="unknown_url")
        # Of another version is what a page of another process of a rolling upgrade names: nothing to keep.
        headers = self._file_headers | (_KEPT if version == self._version else {})
        if file.content_type == "image/svg+xml":
            # Browsers open an image as a page of its own.
            headers |= self._page_headers | {"Cache-Control": headers["Cache-Control"]}
        return self._send(request, file, headers)

    async def _require_signed_in(self, request: web.Request) -> ApiKey | None:
        """Return the API key of the session, or None for an operator.

        Redirect to the sign-in page if there is no valid session.
        """
        try:
            return await self._sessions.resolve_key(request)
        except NotAuthenticated:
            raise web.HTTPSeeOther(SIGN_IN_PAGE.path) from None

    def _send(self, request: web.Request, file: StaticFile, headers: Mapping[str, str]) -> web.Response:
        is_compressed = accepts_gzip(request)
        etag = f"{file.etag}-gzip" if is_compressed else file.etag
        unsent = check_preconditions(request, etag, headers)
        if unsent is not None:
            return unsent
        body, coding = (file.gzipped, {"Content-Encoding": "gzip"}) if is_compressed else (file.body, {})
        response = web.Response(body=body, content_type=file.content_type, headers={**headers, **coding})
        response.charset = "utf-8"
        response.etag = etag
        return response


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the client takes compressed responses."""
    codings = request.headers.get("Accept-Encoding", "").lower().replace(" ", "").split(",")
    return "gzip" in codings or any(
        coding.startswith("gzip;q=") and not coding.endswith(("=0", "=0.0", "=0.00", "=0.000"))
        for coding in codings
    )


def list_modules(entry: str, files: Mapping[str, StaticFile]) -> list[str]:
    """Return the path of a script and of all modules that it imports, so that browsers load them at once."""
    found = [entry]
    for path in found:
        for name in _IMPORT.findall(files[path].body.decode()):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            if imported not in found:
                found.append(imported)
    return found


@cache
def render_pages() -> Mapping[str, StaticFile]:
    """Render every page, by its path."""
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages, files = {}, load_static_files()
    static = f"{STATIC}/{version_of(files)}"
    for page in (*CUSTOMER_PAGES, *OPERATOR_PAGES, JOB_PAGE, SIGN_IN_PAGE):
        modules = list_modules(f"{page.name}/{page.name}.js", files)
        html = environment.get_template(f"{page.name}.html").render(
            page=page,
            customer_pages=CUSTOMER_PAGES,
            operator_pages=OPERATOR_PAGES,
            modules=modules,
            static=static,
        )
        pages[page.path] = StaticFile.from_body(html.encode(), "text/html")
    return pages


@cache
def load_static_files() -> Mapping[str, StaticFile]:
    """Load the files in `static`, by their path in it."""
    files = {}
    for path, entry in _iter_files(resources.files(PACKAGE) / "static"):
        content_type = CONTENT_TYPES.get(path[path.rfind(".") :])
        if content_type is not None:
            files[path] = StaticFile.from_body(entry.read_bytes(), content_type)
    return files


def version_of(files: Mapping[str, StaticFile]) -> str:
    """Return a digest of all files: they import each other, so a browser must not mix versions of them."""
    names = "".join(f"{path} {files[path].etag}\n" for path in sorted(files))
    return hashlib.sha256(names.encode()).hexdigest()[:_VERSION_LENGTH]


def _iter_files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _iter_files(entry, f"{path}/")
        else:
            yield path, entry


def storage_origin(objects: ObjectStore) -> str:
    """Return the scheme and host of presigned URLs."""
    url = urlsplit(objects.presign("origin", 60))
    return f"{url.scheme}://{url.netloc}"


def content_security_policy(media_origin: str) -> str:
    """Return a policy that allows our own files, media from `media_origin`, and nothing inline."""
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
