"""An author's desk: a real ComfyUI with our pack, and a service that runs its jobs on that ComfyUI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.install.install import link_node_packs
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running

PACK = ROOT / "custom_nodes" / "pixel_factory"
SCOPES = ("publish", "generate", "read")


@dataclass(frozen=True)
class Studio:
    """Where both are."""

    url: str
    #: ComfyUI's `--base-directory`.
    base: Path
    service: ServiceProcess
    #: A key of the author with five dollars.
    key: str

    def configure(self, **settings: str) -> None:
        """Write the settings of the pack, which it reads for each request."""
        file = self.base / "user" / "__pixel_factory" / "settings.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps(settings))

    def new_key(self, *scopes: str) -> str:
        """Return a key of a new account with these scopes."""
        words = [word for scope in scopes for word in ("--scope", scope)]
        return str(self.service.run("keys", "create", "--credit", "5.00", *words)["key"])


@contextmanager
def open_studio(install: Path, directory: Path, pack: Path = PACK) -> Iterator[Studio]:
    """Start both; `pack` is linked into ComfyUI."""
    server = RealServer(install, directory / "comfyui")
    link_node_packs(server.base / "custom_nodes", [pack])
    server.start()
    service = ServiceProcess(
        directory / "service",
        options=("--instances", server.url),
        environment={"PIXELFACTORY_DRAIN_SECONDS": "1"},
    )
    try:
        with running(service):
            studio = Studio(server.url, server.base, service, "")
            studio = Studio(server.url, server.base, service, studio.new_key(*SCOPES))
            studio.configure(url=service.url, key=studio.key)
            yield studio
    finally:
        server.kill()
