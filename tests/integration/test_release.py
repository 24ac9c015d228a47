"""A release: one version, a changelog that can be read by programs, and a wheel that works by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from comfy_instances.process.child import find_free_port
from orchestrator.version import PACKAGE, installed_version
from tests.support.polling import wait_until_sync
from tests.support.service import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
RELEASE = re.compile(r"## \[(?P<version>\d+\.\d+\.\d+)\] - (?:unreleased|\d{4}-\d\d-\d\d)")
#: Folders of packages, which a wheel has whole but for compiled files.
PACKAGES = ("orchestrator", "comfy_instances", "pricing", "custom_nodes", "workflows")


def test_version_is_stated_in_one_place() -> None:
    assert installed_version() == version(PACKAGE) == PROJECT["version"]
    stated = subprocess.run(
        ["git", "grep", "-lF", f'"{PROJECT["version"]}"', "--", "*.py", "*.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert [file for file in stated if not file.startswith(("tests/", "workflows/", "scripts/"))] == [
        "pyproject.toml"
    ]


def test_changelog_begins_with_the_version_and_has_known_sections() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    releases = [line for line in lines if line.startswith("## ")]
    matches = [RELEASE.fullmatch(line) for line in releases]
    assert all(matches), releases
    assert matches[0] is not None
    assert matches[0]["version"] == PROJECT["version"]
    assert [line for line in releases[1:] if "unreleased" in line] == []
    sections = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert set(sections) <= set(SECTIONS)
    per_release = "\n".join(lines).split("\n## ")[1:]
    for text in per_release:
        found = re.findall(r"^### (.*)$", text, re.MULTILINE)
        assert len(found) == len(set(found)), "a section stands twice in a release"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what is committed and of what git does not ignore, checked by twine."""
    pytest.importorskip("build")
    pytest.importorskip("twine")
    place = tmp_path_factory.mktemp("dist")
    clone = place / "clone"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in files:
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--outdir", place, clone], check=True, capture_output=True)
    (made,) = place.glob("*.whl")
    (source,) = place.glob("*.tar.gz")
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", made, source], check=True, capture_output=True
    )
    return made


@pytest.mark.slow
def test_wheel_has_everything_that_packages_read(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    expected = {name for name in tracked.split("\0") if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = expected - names
    assert not missing, sorted(missing)[:20]
    assert {f"orchestrator/web/docs_site/{page}.html" for page in ("index", "how-to/operators")} <= names


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheel_serves_and_generates_outside_of_the_clone(wheel: Path, tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment |= {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    run = {"cwd": tmp_path, "env": environment, "check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "venv", "venv"], **run)  # type: ignore[call-overload]
    pip = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install = [*pip, str(wheel)]
    subprocess.run(install, **run)  # type: ignore[call-overload]
    command = str(tmp_path / "venv/bin/pixelfactory")
    url = f"http://127.0.0.1:{(port := find_free_port())}"
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(
            [command, "up", "--simulate", "1", "--port", str(port)],
            cwd=tmp_path,
            env={**environment, "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0"},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_sync(lambda: _is_ready(url), seconds=280)
        made = subprocess.run([command, "keys", "create", "--credit", "1", "--json"], **run)  # type: ignore[call-overload]
        environment["PIXELFACTORY_API_KEY"] = json.loads(made.stdout)["key"]
        generate = [command, "generate", "flux-1-schnell", "a cat", "-o", "cat.webp", "-p", "size=256x256"]
        subprocess.run(generate, **run)  # type: ignore[call-overload]
        assert (tmp_path / "cat.webp").read_bytes()[8:12] == b"WEBP"
        listed = subprocess.run([command, "models", "list", "--json"], **run)  # type: ignore[call-overload]
        assert len(json.loads(listed.stdout)) > 50
        with urlopen(f"{url}/docs", timeout=30) as page:
            assert page.url.endswith("/docs/index.html")
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
