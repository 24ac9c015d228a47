"""A second network on this machine, which can be cut off and connected again."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest


class NetworkNamespace:
    """A namespace with one link to this machine."""

    def __init__(self, name: str, subnet: int) -> None:
        """`subnet` is the third number of the link's addresses."""
        self.name = name
        self.address = f"10.231.{subnet}.2"
        self._host_address = f"10.231.{subnet}.1"
        self._host_link, self._link = f"{name}-h", f"{name}-n"

    def create(self) -> None:
        """Create namespace and link. Raises CalledProcessError where that is not allowed."""
        _ip("netns", "add", self.name)
        _ip("link", "add", self._host_link, "type", "veth", "peer", "name", self._link, "netns", self.name)
        _ip("addr", "add", f"{self._host_address}/30", "dev", self._host_link)
        _ip("link", "set", self._host_link, "up")
        self._inside("addr", "add", f"{self.address}/30", "dev", self._link)
        self._inside("link", "set", "lo", "up")
        self.connect()

    def connect(self) -> None:
        """Let packets through again."""
        self._inside("link", "set", self._link, "up")

    def cut(self) -> None:
        """Drop every packet in both directions; connections are not closed."""
        self._inside("link", "set", self._link, "down")

    def command(self, command: Sequence[str]) -> list[str]:
        """Return what runs a command inside."""
        return ["ip", "netns", "exec", self.name, *command]

    def remove(self) -> None:
        """Remove namespace and link."""
        for arguments in (("link", "del", self._host_link), ("netns", "del", self.name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*arguments)

    def _inside(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


@contextmanager
def network_namespace() -> Iterator[NetworkNamespace]:
    """Create a namespace for a test, which is skipped where the machine does not allow that."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for a network namespace")
    namespace = NetworkNamespace(f"pf{secrets.token_hex(3)}", secrets.randbelow(254) + 1)
    try:
        namespace.create()
    except subprocess.CalledProcessError as error:
        namespace.remove()
        pytest.skip(f"this machine allows no network namespace: {error.stderr.decode().strip()}")
    try:
        yield namespace
    finally:
        namespace.remove()
