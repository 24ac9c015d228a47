"""The real service as a child process, for tests that use it as its users do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp

from tests.support.cli import CommandProcess, command, start_command
from tests.support.ports import find_lasting_port
from tests.support.s3_server import start_shared_s3

COMMAND = Path(sys.executable).with_name("pixelfactory")
ROOT = Path(__file__).resolve().parents[2]
DATABASE_URL = "PIXELFACTORY_DATABASE_URL"
S3_ENDPOINT = "PIXELFACTORY_S3_ENDPOINT"
#: A real ComfyUI beside other tests takes more than a minute.
READY_SECONDS = 180.0
STOP_SECONDS = 40.0


def pixelfactory(
    *arguments: str, data_dir: Path | None = None, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end."""
    where = {"PIXELFACTORY_DATA_DIR": str(data_dir)} if data_dir else {}
    done = command(*arguments, **where, **environment)
    if check and done.returncode:
        raise AssertionError(f"pixelfactory {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return done


@dataclass
class ServiceProcess:
    """`pixelfactory up` in a data directory; may be killed and started again on the same port.

    Another `role` runs one process of an installation on several machines. Its results are in a bucket of the
    S3 server that the tests share, which saves seconds of each start and stop; with `embedded_s3` the service
    starts its own, as it does for an operator who configures none.
    """

    data_dir: Path
    options: Sequence[str] = ("--simulate", "1")
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=find_lasting_port)
    process: CommandProcess | None = None
    role: str = "up"
    embedded_s3: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.data_dir / "service.log").read_text()

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # Expected waits are those of real cards, for work that takes a simulated one no time.
        simulated = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0", "PIXELFACTORY_MAX_WAIT_SECONDS": "1000000"}
        defaults = {**simulated, **self.object_storage}
        self.process = self.launch(defaults | dict(self.environment))
        self.wait_ready()

    @property
    def object_storage(self) -> dict[str, str]:
        """Settings for a bucket of the shared S3 server; none where the service has settings of its own."""
        if self.embedded_s3 or S3_ENDPOINT in self.environment:
            return {}
        s3 = start_shared_s3().access(f"service-{crc32(str(self.data_dir).encode()):08x}")
        return {
            S3_ENDPOINT: s3.endpoint,
            "PIXELFACTORY_S3_ACCESS_KEY": s3.access_key,
            "PIXELFACTORY_S3_SECRET_KEY": s3.secret_key,
            "PIXELFACTORY_S3_BUCKET": s3.bucket,
        }

    def launch(self, environment: dict[str, str]) -> CommandProcess:
        log = self.data_dir / "service.log"
        return start_command(
            *(self.role, "--port", str(self.port), "--data-dir", str(self.data_dir), *self.options),
            # Commands without a data directory find no service of another test.
            environment={**os.environ, "XDG_STATE_HOME": f"{self.data_dir}-state", **environment},
            stdout=log,
            stderr=log,
        )

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log[-4000:]}")
            if _status(self.port) == 200:
                return
            time.sleep(0.1)  # a response costs the service 5 ms while it starts
        raise AssertionError(f"the service was never ready:\n{self.log[-4000:]}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def run(self, *arguments: str) -> Any:
        """A command with `--json` against the same data directory."""
        done = self.command(*arguments, "--json")
        if done.returncode:
            raise AssertionError(f"pixelfactory {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command against the same data directory, whatever comes of it."""
        database = {name: self.environment[name] for name in (DATABASE_URL,) if name in self.environment}
        return command(
            *arguments, PIXELFACTORY_DATA_DIR=str(self.data_dir), **self.object_storage, **database
        )

    def key(self, credit: str = "5.00") -> str:
        return str(self.run("keys", "create", "--credit", credit)["key"])

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    def client(self, key: str | None = None) -> aiohttp.ClientSession:
        """An HTTP client that comes with `key`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return aiohttp.ClientSession(self.url, headers=headers)

    def audit(self) -> list[dict[str, str]]:
        """Rules of the books that do not hold."""
        return list(json.loads(self.command("wallet", "audit", "--json").stdout))


@contextmanager
def running(service: ServiceProcess) -> Iterator[ServiceProcess]:
    """Starts it; whatever the test did to it, it is gone afterwards and its books are in order."""
    try:
        service.start()
    except BaseException:
        if service.process:
            service.kill()
        raise
    try:
        yield service
    finally:
        if service.process and service.process.poll() is None:
            service.stop()
    assert service.audit() == []


def _status(port: int) -> int:
    """Status of /readyz; 0 where nobody listens."""
    with socket.socket() as connection:
        connection.settimeout(5)
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = connection.recv(64)
        except OSError:
            return 0
    parts = line.split()
    return int(parts[1]) if len(parts) > 1 else 0
