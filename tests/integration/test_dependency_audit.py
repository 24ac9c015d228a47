"""The check of installed packages: licences by the repository's list, vulnerabilities by an index."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import Distribution
from typing import Any

import pytest

from scripts.dependency_audit import (
    AllowList,
    Package,
    check_licences,
    check_vulnerabilities,
    list_packages,
    main,
)

ALLOW_LIST = AllowList(
    frozenset({"MIT", "Apache-2.0", "BSD-3-Clause"}), {"MIT License": "MIT"}, {"odd-one": "MIT"}
)
PACKAGES = [Package("Alpha", "1.0", ("MIT",)), Package("beta_tool", "2.0", ("MIT",))]
FLAW = {
    "id": "PYSEC-1",
    "aliases": ["CVE-2026-1"],
    "summary": "Reads files.",
    "fixed_in": ["2.1"],
    "withdrawn": None,
}


@contextmanager
def index(documents: Mapping[str, Any]) -> Iterator[str]:
    """Serve documents by path; a number is a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path, 404)
            body = b"" if isinstance(found, int) else json.dumps(found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only OR MIT AND LGPL-3.0", False),
        ("(GPL-3.0-only OR MIT) AND Apache-2.0", True),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT AND", False),
        ("MIT MIT", False),
        ("MIT WITH Surprise", False),
        ("MIT, somewhat", False),
        ("", False),
    ],
)
def test_reads_licence_expressions(expression: str, allowed: bool) -> None:
    assert ALLOW_LIST.allows(expression) is allowed


class Installed(Distribution):
    """A package with these metadata."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        self._fields = fields

    @property
    def metadata(self) -> Any:
        message = Message()
        for name, value in self._fields:
            message[name] = value
        return message

    def read_text(self, filename: str) -> None: ...

    def locate_file(self, path: Any) -> Any: ...


def test_finds_the_licence_wherever_a_package_names_it() -> None:
    found = list_packages(
        [
            Installed(("Name", "Expression"), ("Version", "1"), ("License-Expression", "Apache-2.0")),
            Installed(
                ("Name", "classified"),
                ("Version", "1"),
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("License", "see the file\nLICENSE"),
            ),
            Installed(("Name", "Odd.One"), ("Version", "1"), ("License", "UNKNOWN")),
            Installed(("Name", "written"), ("Version", "1"), ("License", "MIT")),
            Installed(("Name", "strict"), ("Version", "1"), ("License", "AGPL-3.0")),
            Installed(("Name", "pixel-factory"), ("Version", "1"), ("License", "none")),
        ]
    )
    licences = {package.name: ALLOW_LIST.licence_of(package) for package in found}
    assert licences == {
        "classified": "MIT",
        "Expression": "Apache-2.0",
        "Odd.One": "MIT",
        "written": "MIT",
        "strict": "AGPL-3.0",
    }
    (problem,) = check_licences(found, ALLOW_LIST)
    assert "strict 1: licence 'AGPL-3.0' is not in licences.toml" in problem


def test_every_installed_package_has_an_allowed_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--offline"]) == 0
    listed = capsys.readouterr().out
    assert {"aiohttp", "pillow", "pydantic"} <= {line.split()[0] for line in listed.splitlines()}


def test_reports_the_vulnerabilities_that_the_index_knows(capsys: pytest.CaptureFixture[str]) -> None:
    withdrawn = FLAW | {"id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}
    documents = {
        "/pypi/alpha/1.0/json": {"vulnerabilities": []},
        "/pypi/beta-tool/2.0/json": {"vulnerabilities": [FLAW, withdrawn]},
    }
    with index(documents) as url:
        assert check_vulnerabilities(PACKAGES, url) == [
            "beta_tool 2.0: PYSEC-1 CVE-2026-1: Reads files. (mended in 2.1)"
        ]
    assert "1 in 2 packages" in capsys.readouterr().out


def test_names_the_packages_that_the_index_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with index({"/pypi/alpha/1.0/json": {"vulnerabilities": []}}) as url:
        assert check_vulnerabilities(PACKAGES, url) == []
    assert "not checked, unknown to the index: beta_tool" in capsys.readouterr().out


@pytest.mark.parametrize("document", [404, 503, {"info": {}}, []])
def test_skips_an_index_that_publishes_none(document: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with index({"/pypi/alpha/1.0/json": document}) as url:
        assert check_vulnerabilities(PACKAGES, url) == []
    assert "skipped, the package index cannot be asked" in capsys.readouterr().out


def test_skips_an_index_that_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    with index({}) as url:
        pass
    assert check_vulnerabilities(PACKAGES, url) == []
    assert "skipped, the package index cannot be asked" in capsys.readouterr().out
