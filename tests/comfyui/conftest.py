"""Fixtures: two real ComfyUI servers on the CPU, one of them with our node pack, for all files.

A start costs ten seconds of a core. Files that stop their server, or want other options, start their own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from comfy_instances.install.install import link_node_packs
from orchestrator.catalog.parameters.example_values import (
    EXAMPLE_DATASET_FOLDER,
    EXAMPLE_IMAGE,
    EXAMPLE_VIDEO,
)
from tests.support.real_comfyui import RealServer, installation
from tests.support.service import ROOT

PACK = ROOT / "custom_nodes" / "pixel_factory"


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server with tiny models and the example inputs; a test that kills it must start it again."""
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


@contextmanager
def _running(base: Path, *packs: Path) -> Iterator[RealServer]:
    install = installation()
    if install is None:
        pytest.skip("no ComfyUI is installed (pixelfactory comfyui install)")
    server = RealServer(install, base)
    link_node_packs(base / "custom_nodes", packs)
    server.start()
    try:
        yield server
    finally:
        server.kill()
