"""A temporary PostgreSQL cluster on loopback and a Unix socket, for measurements and tests.

PostgreSQL refuses to run as root; then the cluster belongs to the system user `postgres`, or to an
unprivileged one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg

READY_SECONDS = 60.0
#: Nothing is lost but time without flushes: the machine does not crash.
OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=100",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "log_min_messages=warning",
    "deadlock_timeout=200ms",
)


def find_binaries() -> Path | None:
    """Return the directory of PostgreSQL's programs; None if they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    return None if program is None else Path(program).resolve().parent


def _require_binaries() -> Path:
    binaries = find_binaries()
    if binaries is None:
        raise FileNotFoundError("needs PostgreSQL's programs (Debian: apt install postgresql)")
    return binaries


class PostgresCluster:
    """A cluster in a temporary directory, which can be stopped and started again."""

    def __init__(self, *options: str) -> None:
        self._binaries = _require_binaries()
        self._options = (*OPTIONS, *options)
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="pixelfactory-postgres-"))
        self._user = _unprivileged_user()
        if self._user is not None:
            shutil.chown(self.directory, self._user)
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.port = int(listener.getsockname()[1])
        self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "pixel")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://pixel@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = [f"port={self.port}", f"unix_socket_directories={self.directory}", *self._options]
        command = [str(self._binaries / "postgres"), "-D", str(self.data)]
        command += [part for option in options for part in ("-c", option)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.directory, **self._as_user()
            )
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server and its connections: SIGINT in order, SIGQUIT at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        """Stop the server at once and delete the cluster."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements outside of transactions."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def query(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database and return its URL."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database and end its connections."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _accepts_connections(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
        with suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=2):
            return True
        return False

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._accepts_connections():
            assert time.monotonic() < deadline, f"PostgreSQL was not ready within {READY_SECONDS:g} s"
            time.sleep(0.03)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self.data), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.directory, check=False, **self._as_user()
        )
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        group = pwd.getpwnam(self._user).pw_gid
        return {"user": self._user, "group": group, "extra_groups": []}


def _unprivileged_user() -> str | None:
    """Return the user to run as; None for the own one."""
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
