"""`pixelfactory comfyui` as an operator types it: install, status, facts."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.install.lock import load_comfyui_lock
from comfy_instances.protocol.node_facts import load_core_node_facts
from tests.support.service import ServiceProcess, pixelfactory
from tests.support.small_comfyui import git, make_index, make_upstream

LOCK = load_comfyui_lock()
TORCH = LOCK.torch["cpu"].packages


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "comfyui"


def comfyui(directory: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return pixelfactory("comfyui", *words, check=check, PIXELFACTORY_COMFYUI_DIR=str(directory))


def status(directory: Path) -> dict[str, Any]:
    return dict(json.loads(comfyui(directory, "status", "--json").stdout))


@pytest.mark.slow
def test_install_reports_its_steps_and_status_reports_drift(tmp_path: Path, directory: Path) -> None:
    assert status(directory)["drift"] == ["not installed"]
    upstream = make_upstream(tmp_path / "upstream")
    commit = git(upstream, "rev-parse", "HEAD")
    torch = " ".join([*TORCH, make_index(tmp_path / "index", *TORCH)])
    options = ("--source", str(upstream), "--ref", commit, "--torch", torch)
    for _ in range(2):
        done = comfyui(directory, "install", *options)
        assert f"ComfyUI 0.33.0 at commit {commit}" in done.stdout
        assert f"PyTorch: {', '.join(TORCH)}" in done.stdout
        assert "Tested on cpu: ready after" in done.stdout
        assert "is not the tested commit" in done.stderr.replace("\n", " ")
    found = status(directory)
    assert (found["installed"], found["version"], found["commit"]) == (True, "0.33.0", commit)
    assert found["torch"] == list(TORCH)
    assert found["drift"] == [
        f"commit {commit} instead of {LOCK.commit}",
        "requirements.txt differs from the pinned one",
    ]
    assert f"commit        {commit}" in comfyui(directory, "status").stdout
    assert (directory / "venv" / "constraints.txt").read_text().split() == list(TORCH)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--source", "/nowhere"), "give a mirror or a copy of the repository with --source"),
        (("--torch", "rocm"), "torch==VERSION"),
    ],
)
def test_an_impossible_install_explains_why(directory: Path, options: tuple[str, ...], words: str) -> None:
    done = comfyui(directory, "install", *options, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def address(service: ServiceProcess) -> str:
    """Of a running server."""
    return str(service.run("instances", "list", "--url", service.url)[0]["url"])


def test_facts_of_a_running_server(address: str, tmp_path: Path) -> None:
    printed = json.loads(pixelfactory("comfyui", "facts", "--from", address).stdout)
    assert printed["comfyui_version"] == "0.33.0"
    core = load_core_node_facts()
    assert printed["nodes"]["KSampler"] == core["KSampler"]
    file = tmp_path / "facts.json.gz"
    done = pixelfactory("comfyui", "facts", "--from", address, "-o", str(file))
    assert f"{len(printed['nodes'])} nodes of ComfyUI 0.33.0" in done.stderr.replace("\n", " ")
    assert json.loads(gzip.decompress(file.read_bytes())) == printed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not an address"])
def test_facts_need_a_running_server(url: str) -> None:
    done = pixelfactory("comfyui", "facts", "--from", url, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
