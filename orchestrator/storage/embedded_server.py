"""Run the embedded S3 server: SeaweedFS as a child process, for installations without an S3 endpoint.

It listens on the loopback interface only, is restarted on the same ports when it exits, and ends when this
process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import aiohttp
import psutil

from comfy_instances.backoff import backoff_delay
from comfy_instances.log_text import error_text
from comfy_instances.process import die_with_parent
from comfy_instances.tasks import spawn
from orchestrator.files.private_files import make_file_private, write_private
from orchestrator.media.errors import S3ServerNotStarted
from orchestrator.storage import seaweedfs
from orchestrator.storage.object_store import ObjectStore, S3Config

log = logging.getLogger(__name__)

_STARTUP_TIMEOUT_SECONDS = 30.0
#: What was stored is in files after the first second. The server would wait longer for connections that it
#: keeps in reserve to itself, for as long as they have not been used.
_STOP_TIMEOUT_SECONDS = 4.0
#: Pause before a restart: after the first exit in a row, and the longest one.
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.25, 30.0
#: Running time after which the count of failures in a row is reset.
_STABLE_AFTER_SECONDS = 60.0
#: Time to wait for the lock and ports of a killed predecessor.
_PREDECESSOR_TIMEOUT_SECONDS = 2.0
_MAX_LOG_BYTES = 10 * 1024 * 1024


async def _wait_until(condition: Callable[[], bool]) -> bool:
    """Return whether `condition` becomes true before the timeout for a predecessor."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PREDECESSOR_TIMEOUT_SECONDS
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class EmbeddedS3:
    """The server of one directory: `start`, use `bucket_config`, `stop`. It may be started again.

    Call `start` in a thread that lives as long as the server: the kernel ends the child when the thread that
    created it ends.
    """

    def __init__(self, directory: Path) -> None:
        self._server_dir = seaweedfs.SeaweedFSDirectory(directory)
        self._credentials: seaweedfs.S3Credentials | None = None
        self._ports: dict[str, int] = {}
        self._process: Process | None = None
        self._restart_task: asyncio.Task[None] | None = None
        self._lock: BinaryIO | None = None

    @property
    def endpoint(self) -> str:
        if not self._ports:
            raise S3ServerNotStarted
        return seaweedfs.s3_endpoint(self._ports)

    @property
    def access_key(self) -> str:
        return self._loaded_credentials.access_key

    @property
    def secret_key(self) -> str:
        return self._loaded_credentials.secret_key

    @property
    def _loaded_credentials(self) -> seaweedfs.S3Credentials:
        if self._credentials is None:
            raise S3ServerNotStarted
        return self._credentials

    @property
    def pid(self) -> int | None:
        """The process id of the running server; None if it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def bucket_config(self, bucket: str, public_endpoint: str | None = None) -> S3Config:
        return S3Config(
            endpoint=self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            bucket=bucket,
            public_endpoint=public_endpoint,
        )

    async def start(self) -> None:
        """Start the server and wait until it is healthy.

        Raises S3ServerNotStarted, also if another service uses the directory.
        """
        binary = seaweedfs.find_binary()
        self._server_dir.create()
        if not await _wait_until(self._acquire_lock):
            raise S3ServerNotStarted(f"{self._server_dir.directory} is in use by another service")
        try:
            await asyncio.to_thread(self._kill_orphan)
            await asyncio.to_thread(self._server_dir.prepare)
            self._credentials = self._server_dir.read_credentials()
            await _wait_until(self._server_dir.can_reuse_ports)
            self._ports = self._server_dir.allocate_ports()
            await self._launch(binary)
        except BaseException:
            self._release_lock()
            raise
        self._restart_task = spawn(self._restart_on_exit(binary), "embedded S3 server")

    async def stop(self) -> None:
        """Stop the server gracefully (about two seconds). Does nothing if it does not run."""
        if self._restart_task:
            self._restart_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._restart_task
            self._restart_task = None
        await self._stop_process()
        self._release_lock()

    async def _restart_on_exit(self, binary: Path) -> None:
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._process.wait() if self._process else None
            uptime = asyncio.get_running_loop().time() - started
            failures = 1 if uptime > _STABLE_AFTER_SECONDS else failures + 1
            delay = backoff_delay(failures, _MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
            log.error("S3 server exited with code %s; restarting it in %.2f s", code, delay)
            await asyncio.sleep(delay)
            try:
                await self._launch(binary)
            except Exception as error:
                # Not only S3ServerNotStarted: after a lack of descriptors or processes the next try succeeds.
                log.error("S3 server cannot be started: %s", error_text(error))

    async def _launch(self, binary: Path) -> None:
        if not seaweedfs.are_ports_free(self._ports):
            raise S3ServerNotStarted(f"a port of the S3 server is in use: {self._ports}")
        command = self._server_dir.command_line(binary, self._ports)
        with self._open_log() as sink:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._server_dir.environment(),
                # Keeps Ctrl-C in a terminal from the server, which running work needs until `stop`.
                start_new_session=True,
                # Its files and its sockets in /tmp are for this user only.
                umask=0o077,
            )
        write_private(self._server_dir.pid_file, str(self._process.pid))
        try:
            async with asyncio.timeout(_STARTUP_TIMEOUT_SECONDS):
                await self._wait_until_ready(self._process)
        except BaseException as error:
            await self._stop_process()
            if isinstance(error, TimeoutError):
                raise S3ServerNotStarted(
                    f"the S3 server was not healthy within {_STARTUP_TIMEOUT_SECONDS:.0f} s;"
                    f" {self._log_tail()}"
                ) from error
            raise
        log.info("S3 server listens at %s", self.endpoint)

    async def _wait_until_ready(self, process: Process) -> None:
        async with aiohttp.ClientSession() as http:
            while process.returncode is None:
                if await self._is_healthy(http):
                    return
                await asyncio.sleep(0.03)
        raise S3ServerNotStarted(f"the S3 server exited with code {process.returncode}; {self._log_tail()}")

    async def _is_healthy(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.endpoint}/healthz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _stop_process(self) -> None:
        process = self._process
        if process and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_SECONDS)
            except TimeoutError:
                log.warning("S3 server did not exit within %.0f s; killing it", _STOP_TIMEOUT_SECONDS)
                process.kill()
                await process.wait()
        self._server_dir.pid_file.unlink(missing_ok=True)
        self._server_dir.remove_sockets(self._ports)

    def _acquire_lock(self) -> bool:
        """Lock the directory. This process holds the lock, so it is released however the process ends."""
        make_file_private(self._server_dir.lock_file, create=True)
        file = self._server_dir.lock_file.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._lock = file
        return True

    def _release_lock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def _kill_orphan(self) -> None:
        """Kill a server that outlived its service (possible only where the kernel does not end it)."""
        try:
            orphan = psutil.Process(int(self._server_dir.pid_file.read_text()))
            if f"-dir={self._server_dir.data_dir}" in orphan.cmdline():
                orphan.kill()
                orphan.wait(_STOP_TIMEOUT_SECONDS)
        except (OSError, ValueError, psutil.Error):
            return

    def _open_log(self) -> BinaryIO:
        path = self._server_dir.log_file
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        make_file_private(path, create=True)
        return path.open("ab")

    def _log_tail(self) -> str:
        lines = self._server_dir.log_file.read_text(errors="replace").splitlines()
        return f"last lines of {self._server_dir.log_file}: " + " / ".join(lines[-3:])


def read_access(directory: Path, bucket: str) -> S3Config | None:
    """Return access to the server of a directory where it ran last; None if it never did."""
    server_dir = seaweedfs.SeaweedFSDirectory(directory)
    ports = server_dir.read_ports()
    if not ports:
        return None
    credentials = server_dir.read_credentials()
    return S3Config(
        endpoint=seaweedfs.s3_endpoint(ports),
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        bucket=bucket,
    )


async def find_running_server(directory: Path, bucket: str) -> S3Config | None:
    """Return access to the server that another process runs in this directory; None if none runs there."""
    config = read_access(directory, bucket)
    if config is None:
        return None
    async with ObjectStore(config) as object_store:
        return config if await object_store.is_healthy() else None
