"""The service as several processes: two API processes, two schedulers and a webhook sender.

They share PostgreSQL, an S3 server and adopted simulators. What ends is started again after a moment.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import psutil
import psycopg
from aiohttp.abc import AbstractResolver, ResolveResult
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import S3Config
from scripts.bench.campaign.rig import BUCKET, SHORT_LIMITS, Rig, Row
from scripts.bench.program import WAIT_SECONDS, Program
from scripts.child_servers import PIXELFACTORY_COMMAND
from scripts.postgres_cluster import PostgresCluster

#: Exit status and last line of a process that could not use the database while it started.
FAILED, DATABASE_LOST = 1, "error: The database "
#: Exit status of a leader that another scheduler has succeeded.
SUCCEEDED = 75
RESTART_SECONDS = 0.5
#: The name that stands for both API processes.
SERVICE_URL = "http://localhost.campaign"


class TurnsResolver(AbstractResolver):
    """Names the processes in turn, so that a caller that tries again does so at another one."""

    def __init__(self, ports: Sequence[int], first: int) -> None:
        self._ports, self._turns = ports, count(first)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        turn = next(self._turns)
        return [
            self._result(host, self._ports[(turn + n) % len(self._ports)]) for n in range(len(self._ports))
        ]

    def _result(self, host: str, port: int) -> ResolveResult:
        return ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
        )

    async def close(self) -> None:
        pass


@dataclass
class RoleRig(Rig):
    """The processes of one service; `starts` counts those of all of them."""

    postgres: PostgresCluster = field(default_factory=PostgresCluster)
    schedulers: list[Program] = field(default_factory=list)
    apis: list[Program] = field(default_factory=list)
    senders: list[Program] = field(default_factory=list)
    _secrets: dict[str, str] = field(
        default_factory=lambda: {
            name: secrets.token_urlsafe(32) for name in ("ADMIN_TOKEN", "SESSION_SECRET", "DATABASE_KEY")
        }
    )
    _s3: EmbeddedS3 | None = None
    _keeper: asyncio.Task[None] | None = None
    _clients: count[int] = field(default_factory=count)

    @property
    def programs(self) -> list[Program]:
        return [*self.schedulers, *self.apis, *self.senders]

    @property
    def url(self) -> str:
        return SERVICE_URL

    @property
    def admin_token(self) -> str:
        return self._secrets["ADMIN_TOKEN"]

    @property
    def environment(self) -> dict[str, str]:
        config = self.s3_config()
        return {
            "PIXELFACTORY_DATA_DIR": str(self.data_dir),
            "PIXELFACTORY_DATABASE_URL": self.postgres.url(),
            "PIXELFACTORY_S3_ENDPOINT": config.endpoint,
            "PIXELFACTORY_S3_ACCESS_KEY": config.access_key,
            "PIXELFACTORY_S3_SECRET_KEY": config.secret_key,
            "PIXELFACTORY_S3_BUCKET": config.bucket,
            **{f"PIXELFACTORY_{name}": secret for name, secret in self._secrets.items()},
            **SHORT_LIMITS,
        }

    async def start(self) -> None:
        """Start everything and wait until it is ready. Raises RuntimeError, TimeoutError."""
        try:
            await self._start()
        except BaseException:
            await self.stop(signal.SIGKILL)
            raise
        self.up.set()

    async def _start(self) -> None:
        assert self.external is not None
        self._s3 = EmbeddedS3(self.directory / "s3")
        await self._s3.start()
        await asyncio.to_thread(self.postgres.start)
        adopted = ("--instances", ",".join(self.external.urls), "--no-webhooks")
        self.schedulers = [self._role("scheduler", number, *adopted) for number in range(2)]
        self.apis = [self._role("api", number) for number in range(2)]
        self.senders = [self._role("webhooks", 0)]
        for program in self.programs:
            await program.start()
            self.starts += 1
        self._keeper = asyncio.create_task(self._keep_running())

    def _role(self, role: str, number: int, *options: str) -> Program:
        name = f"{role}-{number}"
        command = [str(PIXELFACTORY_COMMAND), role, "--data-dir", str(self.directory / name), *options]
        ready_path = None if role == "webhooks" else "/readyz"
        return Program(name, command, ready_path, self.directory, self.environment)

    async def _keep_running(self) -> None:
        """Start again what has ended, as a supervisor does, and note what ended on its own account."""
        while True:
            await asyncio.sleep(RESTART_SECONDS)
            for program in self.programs:
                code = program.process.poll() if program.process else None
                if code is None:
                    continue
                if not self._is_expected_end(program, code):
                    self.unexpected_ends.append(f"{program.name} ended with {code}")
                program.launch()
                self.starts += 1

    def _is_expected_end(self, program: Program, code: int) -> bool:
        if code == FAILED:
            _, _, last = program.log_file.read_text(errors="replace").rstrip().rpartition("\n")
            return last.startswith(DATABASE_LOST)
        return code == -signal.SIGKILL or (code == SUCCEEDED and program in self.schedulers)

    async def wait_until_ready(self, programs: Sequence[Program]) -> None:
        """Wait until processes run and answer. Raises TimeoutError."""
        async with asyncio.timeout(2 * WAIT_SECONDS):
            for program in programs:
                while True:
                    try:
                        await program.wait_until_ready()
                        break
                    except RuntimeError:  # It ended, and is started again.
                        await asyncio.sleep(RESTART_SECONDS)

    async def stop(self, number: signal.Signals) -> int:
        """End all processes, API processes first, and note those that do not end in order."""
        self.up.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for program in reversed(self.programs):
            if program.process is not None and program.process.poll() is None:
                program.send(signal.SIGCONT)
                if code := await program.end(number):
                    print(f"{program.name} ended with {code}", file=sys.stderr)
        if self._s3 is not None:
            await self._s3.stop()
        await asyncio.to_thread(self.postgres.remove)
        return 0

    def leader(self) -> Program:
        """Return the scheduler that leads, or led last."""
        (row,) = self.query("SELECT url FROM scheduler_leader")
        return next(one for one in self.schedulers if one.url == row["url"])

    def s3_servers(self) -> list[psutil.Process]:
        pid = self._s3.pid if self._s3 else None
        return [psutil.Process(pid)] if pid else []

    def s3_config(self) -> S3Config:
        assert self._s3 is not None
        return self._s3.bucket_config(BUCKET)

    def query(self, sql: str) -> Sequence[Row]:
        with psycopg.connect(self.postgres.url(), autocommit=True, row_factory=dict_row) as connection:
            # As SQLite returns it.
            connection.adapters.register_loader("json", TextLoader)
            return connection.execute(sql.encode()).fetchall()

    def read_log(self) -> str:
        return "\n".join(program.log_file.read_text(errors="replace") for program in self.programs)

    def connector(self) -> aiohttp.TCPConnector:
        """Return what connects with the API processes in turn, each with the other one as an alternative."""
        resolver = TurnsResolver([api.port for api in self.apis], next(self._clients))
        return aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, happy_eyeballs_delay=None
        )
