"""The documentation as it is shown: built with Zensical, served at `/docs/`."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.web.openapi.docs_site import DocsSite

ROOT = Path(__file__).resolve().parents[2]


def build_site(folder: Path) -> Path:
    """Build the pages in `folder`. A link or an included file that leads nowhere is an error."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        pytest.skip("needs Zensical (scripts/install docs)")
    # It writes beside its configuration.
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    command = [str(zensical), "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def site_app(site: Path) -> web.Application:
    """Return an application with the pages at `/docs/`, as the service serves them."""
    shown = DocsSite(site)

    async def show(request: web.Request) -> web.StreamResponse:
        return shown.respond(request)

    app = web.Application()
    app.router.add_get("/docs/{path:.*}", show)
    return app


@contextmanager
def served_site(site: Path) -> Iterator[str]:
    """The address of a server with the pages, in a thread: Playwright's loop has the thread of the test."""
    loop, server = asyncio.new_event_loop(), TestServer(site_app(site))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start_server(), loop).result()
        yield str(server.make_url("/docs/"))
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
