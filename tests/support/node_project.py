"""Node.js with the official packages of several services, for tests of what they send and read."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import run_program

#: Installed together: OpenAI's SDK, Vercel's AI SDK and its providers, and the clients of hosts of models.
PACKAGES = (
    *("openai@6", "ai@6", "@ai-sdk/openai@3", "@ai-sdk/openai-compatible@2"),
    *("replicate@1", "@ai-sdk/replicate@2", "@fal-ai/client@1", "@ai-sdk/fal@2"),
)
#: Of clients that run callers' own graphs.
COMFY_PACKAGES = ("@comfyorg/sdk", "@saintno/comfyui-sdk")


def install_packages(project: Path, *packages: str) -> None:
    """Install npm packages into a directory. npm does not repeat a download whose connection breaks midway.

    Raises OSError, and SubprocessError if it has failed three times.
    """
    (project / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *packages]
    for is_last in (False, False, True):
        if subprocess.run(command, cwd=project, check=is_last, timeout=110).returncode == 0:
            return


@pytest.fixture(scope="session")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the official npm packages."""
    if not shutil.which("npm"):
        pytest.skip("needs Node.js with npm (Debian: apt install nodejs npm)")
    project = tmp_path_factory.mktemp("node")
    install_packages(project, *PACKAGES)
    return project


@pytest.fixture(scope="session")
def comfy_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the npm packages that run graphs: Comfy's SDK, and a client of ComfyUI itself."""
    project = tmp_path_factory.mktemp("comfy-node")
    try:
        install_packages(project, *COMFY_PACKAGES)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs Node.js with npm and its registry: {error}")
    return project


def run_node(directory: Path, script: str, **environment: str) -> str:
    """What a module prints."""
    (directory / "script.mjs").write_text(script)
    return run_program(directory, "node", "script.mjs", **environment)
