"""Fixtures: two real ComfyUI servers on the CPU, one of them with our node pack, for all files; a service.

A start costs ten seconds of a core. Files that stop their server, or want other options, start their own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from comfy_instances.install.install import link_node_packs
from orchestrator.catalog.parameters.example_values import (
    EXAMPLE_DATASET_FOLDER,
    EXAMPLE_IMAGE,
    EXAMPLE_VIDEO,
)
from tests.support.comfyui_server import installed_comfyui
from tests.support.node_project import comfy_packages, node_project  # noqa: F401 - fixtures for tests here
from tests.support.ports import find_lasting_port
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running
from tests.support.tls_front import TlsFront, tls_front

PACK = ROOT / "custom_nodes" / "pixel_factory"
#: Models that clients of the field are offered: without weights, and with tiny ones.
OFFERED = ("sd-1.5", "4x-ultrasharp")


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server with tiny models and the example inputs; a test that kills it must start it again."""
    _require_comfyui()  # before the models are made, which takes seconds
    base = tmp_path_factory.mktemp("comfyui")
    subprocess.run([sys.executable, "-m", "scripts.tiny_models", base / "models"], cwd=ROOT, check=True)
    (base / "input" / EXAMPLE_DATASET_FOLDER).mkdir(parents=True)
    Image.new("RGB", (64, 48), "teal").save(base / "input" / EXAMPLE_IMAGE)
    (base / "input" / EXAMPLE_VIDEO).touch()  # only whether it exists is validated
    with _running(base) as server:
        yield server


@pytest.fixture(scope="session")
def comfyui_with_pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server with our node pack and no models."""
    base = tmp_path_factory.mktemp("comfyui-with-pack")
    (base / "input").mkdir()
    with _running(base, PACK) as server:
        yield server


@dataclass(frozen=True)
class OpenService:
    """A service with a real ComfyUI, for the clients of the field: behind TLS, as their defaults ask for."""

    service: ServiceProcess
    front: TlsFront

    @property
    def trust(self) -> dict[str, str]:
        """Return what has programs trust the certificate, whatever library they use."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self.front.authority))


@pytest.fixture(scope="session")
def open_service(comfyui: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service that offers weightless and tiny models, and runs callers' graphs."""
    base = tmp_path_factory.mktemp("open-service")
    shutil.copytree(ROOT / "tests" / "workflows", base / "workflows")
    for model in OFFERED:
        shutil.copytree(ROOT / "workflows" / model, base / "workflows" / model)
    port = find_lasting_port()
    environment = {
        "PIXELFACTORY_WORKFLOWS_DIR": str(base / "workflows"),
        "PIXELFACTORY_PUBLIC_URL": f"https://127.0.0.1:{port}",
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    }
    process = ServiceProcess(base / "data", ("--instances", comfyui.url), environment)
    with running(process) as service, tls_front(base, port, service.port) as front:
        yield OpenService(service, front)


def _require_comfyui() -> Path:
    """Return the folder of the installed ComfyUI; skip the test without one."""
    install = installed_comfyui()
    if install is None:
        pytest.skip("no ComfyUI is installed (pixelfactory comfyui install)")
    return install


@contextmanager
def _running(base: Path, *packs: Path) -> Iterator[RealServer]:
    install = _require_comfyui()
    server = RealServer(install, base)
    link_node_packs(base / "custom_nodes", packs)
    server.start()
    try:
        yield server
    finally:
        server.kill()
