"""The documentation as a site: `/docs/`, from the files that a wheel has."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from pathlib import Path

from aiohttp import web

from orchestrator.web.http.errors import unknown_url

#: Built by `scripts/packaging/pixelfactory_build.py`; not in the repository.
SITE_FOLDER = Path(__file__).resolve().parents[1] / "docs_site"
ROOT = "/docs/"
#: Where the site begins. The server cuts slashes from the ends of paths, so that pages have names of files.
START = f"{ROOT}index.html"
_INLINE_SCRIPT = re.compile(rb"<script(?:\s+id=\"[^\"]*\")?>(.+?)</script>", re.DOTALL)
#: Names of files that change with their content are kept by browsers.
_HASHED_NAME = re.compile(r"\.[0-9a-f]{8}\.min\.\w+$")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class DocsSite:
    """The files of the site by their path under `/docs/`; none if the site is not built."""

    def __init__(self, folder: Path = SITE_FOLDER) -> None:
        """Only files that are there at the start are served, whatever a path says."""
        files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
        self._files = {file.relative_to(folder).as_posix(): file for file in files}
        self._policies: dict[Path, str] = {}

    @property
    def is_built(self) -> bool:
        """Whether there is a site."""
        return "index.html" in self._files

    def respond(self, request: web.Request) -> web.StreamResponse:
        """Return a file. Raises NotFound; HTTPFound for the path of a page without its ending."""
        path = request.match_info["path"]
        file = self._files.get(path)
        if file is None:
            for page in (f"{path}.html", f"{path}/index.html"):
                if page in self._files:
                    raise web.HTTPFound(f"{ROOT}{page}")
            raise unknown_url(request)
        content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {**_HEADERS, "Content-Type": content_type}
        if content_type == "text/html":
            headers |= {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": self._policy(file),
            }
        elif _HASHED_NAME.search(file.name):
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return web.FileResponse(file, headers=headers)

    def _policy(self, file: Path) -> str:
        """Return the policy of a page: its own inline scripts, and nothing from elsewhere."""
        if file not in self._policies:
            digests = {
                base64.b64encode(hashlib.sha256(script).digest()).decode()
                for script in _INLINE_SCRIPT.findall(file.read_bytes())
            }
            allowed = " ".join(f"'sha256-{digest}'" for digest in sorted(digests))
            self._policies[file] = (
                f"default-src 'self'; script-src 'self' {allowed}; style-src 'self' 'unsafe-inline';"
                " img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none';"
                " frame-ancestors 'none'"
            )
        return self._policies[file]
