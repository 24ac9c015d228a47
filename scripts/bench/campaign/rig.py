"""The service under test with everything around it: its process, its children, accounts and the receiver."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psutil

from comfy_instances.process.child import find_free_port
from orchestrator.storage.object_store import S3Config
from orchestrator.storage.seaweedfs import SeaweedFSDirectory
from scripts.bench.campaign.external import ExternalFleet
from scripts.bench.campaign.receiver import Receiver
from scripts.child_servers import run_cli

BUCKET = "pixelfactory"
READY_SECONDS = 90.0
STOP_SECONDS = 60.0
ACCOUNT_COUNT = 4
CREDIT_USD = "5000"
#: Short limits, so that a campaign of minutes sees what takes a service hours.
SHORT_LIMITS = {
    "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    "PIXELFACTORY_DRAIN_SECONDS": "2",
    "PIXELFACTORY_FAILURES_PER_MINUTE": "100000",
    "PIXELFACTORY_STALL_SECONDS": "4",
    "PIXELFACTORY_RECONCILE_SECONDS": "2",
    "PIXELFACTORY_UNDELIVERED_SECONDS": "15",
    "PIXELFACTORY_ORPHAN_GRACE_SECONDS": "10",
    "PIXELFACTORY_ORPHAN_SWEEP_SECONDS": "3",
}


class Row(Protocol):
    """A row of the database, whose values have names."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class CallerAccount:
    number: int
    id: str
    key: str


@dataclass
class Rig:
    """One service in `directory`. Times are seconds."""

    directory: Path
    time_scale: float
    #: Instances to adopt instead of three supervised simulators.
    external: ExternalFleet | None = None
    port: int = field(default_factory=find_free_port)
    receiver: Receiver = field(default_factory=lambda: Receiver(find_free_port()))
    accounts: list[CallerAccount] = field(default_factory=list)
    #: Set while the service answers requests.
    up: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    #: Processes that ended although nothing ended them.
    unexpected_ends: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def clock_offset_file(self) -> Path:
        return self.directory / "clock_offset"

    @property
    def log_file(self) -> Path:
        return self.directory / "service.log"

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        # The receiver and the service meet on loopback addresses only.
        mine = {"PIXELFACTORY_DATA_DIR": str(self.data_dir), **SHORT_LIMITS}
        return {**os.environ, **mine, "PIXELFACTORY_SIMULATOR_TIME_SCALE": str(self.time_scale)}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def shift_clock(self, seconds: float) -> None:
        draft = self.clock_offset_file.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self.clock_offset_file)

    async def start(self) -> None:
        """Start the service and wait until it is ready. Raises RuntimeError with the end of its log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "scripts.bench.campaign.shifted_up", str(self.clock_offset_file)]
        command += ["--port", str(self.port), "--data-dir", str(self.data_dir)]
        if self.external is not None:
            command += ["--instances", ",".join(self.external.urls)]
        else:
            command += ["--simulate", "3"]
        self._process = await asyncio.to_thread(self._launch, command)
        self.starts += 1
        async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as http:
            while not await self._is_ready(http):
                if self._process.poll() is not None:
                    raise RuntimeError(
                        f"the service ended with {self._process.returncode}: {self.log_tail()}"
                    )
                await asyncio.sleep(0.05)
        self.up.set()

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def log_tail(self) -> str:
        return self.read_log()[-3000:]

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal, wait until the service and its children are gone, and return the exit status."""
        self.up.clear()
        process = self._process
        assert process is not None
        children = self.children()
        with suppress(ProcessLookupError):
            process.send_signal(number)
        code = await asyncio.to_thread(process.wait, STOP_SECONDS)
        await asyncio.to_thread(psutil.wait_procs, children, 10)
        return code

    def children(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def instances(self) -> list[psutil.Process]:
        """Return the processes of the instances."""
        if self.external is not None:
            return self.external.processes()
        return [child for child in self.children() if _runs(child, "comfy_instances.simulator")]

    def s3_servers(self) -> list[psutil.Process]:
        return [child for child in self.children() if _runs(child, "weed") and not _runs(child, "die_with")]

    async def create_accounts(self) -> None:
        for number in range(ACCOUNT_COUNT):
            made: dict[str, Any] = await asyncio.to_thread(
                run_cli, "keys", "create", "--credit", CREDIT_USD, "--json", environment=self.environment
            )
            self.accounts.append(CallerAccount(number, str(made["account"]), str(made["key"])))
            async with (
                self.client(str(made["key"])) as http,
                http.get("/api/v1/webhooks/secret") as response,
            ):
                self.receiver.secrets[number] = (await response.json())["secret"]

    def count_unfinished(self) -> int:
        """Return the number of jobs without an end and of webhook messages without a delivery."""
        (jobs,) = self.query("SELECT count(*) AS rows FROM jobs WHERE finished_at IS NULL")
        (messages,) = self.query("SELECT count(*) AS rows FROM outbox WHERE due_at IS NOT NULL")
        return int(jobs["rows"]) + int(messages["rows"])

    def query(self, sql: str) -> Sequence[Row]:
        """Return the rows of a query of the service's database."""
        with closing(sqlite3.connect(f"file:{self.data_dir / 'pixelfactory.db'}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return db.execute(sql).fetchall()

    def s3_config(self) -> S3Config:
        """Return where the service stores results."""
        credentials = SeaweedFSDirectory(self.data_dir / "s3").read_credentials()
        ports = json.loads((self.data_dir / "s3" / "ports.json").read_text())
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        return S3Config(
            endpoint=endpoint,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            bucket=BUCKET,
        )

    def read_log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def client(self, key: str | None = None, seconds: float = 300) -> aiohttp.ClientSession:
        """Return a client of the service that comes with `key`; a request takes `seconds` at most."""
        headers = {"Authorization": f"Bearer {key}"} if key else None
        timeout = aiohttp.ClientTimeout(total=seconds)
        return aiohttp.ClientSession(self.url, headers=headers, timeout=timeout, connector=self.connector())

    def connector(self) -> aiohttp.TCPConnector | None:
        """Return what connects a client with the service; None for the usual connector."""
        return None

    async def admin(self, path: str) -> Any:
        async with self.client(self.admin_token) as http, http.get(path) as response:
            text = await response.text()
            return json.loads(text) if response.content_type == "application/json" else text


def _runs(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in part for part in process.cmdline()[:4])
    except psutil.Error:
        return False
