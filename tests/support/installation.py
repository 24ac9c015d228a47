"""An installation of several processes: API processes, schedulers, PostgreSQL, S3, simulators."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.comfyui_server import ComfyUIServer, simulator
from tests.support.postgres import PostgresCluster
from tests.support.s3_server import S3Server
from tests.support.service import DATABASE_URL, ServiceProcess

SECRET_FILES = ("admin-token", "session-secret", "database-key")


class Installation:
    """The processes by role. Each has a data directory of its own, with the same secrets.

    `settings` are further ones of all processes.
    """

    def __init__(self, directory: Path, cluster: PostgresCluster, s3: S3Server, time_scale: str) -> None:
        self.directory = directory
        self.cluster = cluster
        self._s3 = s3
        self.settings: dict[str, str] = {}
        self._stack = ExitStack()
        self._secrets = {name: secrets.token_urlsafe(32) for name in SECRET_FILES}
        options = ("--time-scale", time_scale)
        self.simulators: list[ComfyUIServer] = [
            self._stack.enter_context(simulator(directory / f"simulator-{number}", *options))
            for number in range(2)
        ]
        self.bucket = f"installation-{secrets.token_hex(4)}"
        self.processes: list[ServiceProcess] = []

    def api(self, name: str) -> ServiceProcess:
        """Start an API process, and wait until it accepts jobs."""
        return self._start("api", name)

    def scheduler(self, name: str) -> ServiceProcess:
        """Start a scheduler, and wait until it leads or stands by."""
        urls = ",".join(one.url for one in self.simulators)
        return self._start("scheduler", name, "--instances", urls)

    def environment(self) -> dict[str, str]:
        """Return the settings that all processes share."""
        access = self._s3.access(self.bucket)
        return {
            DATABASE_URL: self.cluster.url(),
            "PIXELFACTORY_S3_ENDPOINT": access.endpoint,
            "PIXELFACTORY_S3_ACCESS_KEY": access.access_key,
            "PIXELFACTORY_S3_SECRET_KEY": access.secret_key,
            "PIXELFACTORY_S3_BUCKET": self.bucket,
            "PIXELFACTORY_RECONCILE_SECONDS": "1",
            "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
            **self.settings,
        }

    def api_without_files(self, name: str) -> ServiceProcess:
        """Start an API process that has the secrets from its settings only, as in a container."""
        data = self.directory / name
        data.mkdir(mode=0o700)
        named = {f"PIXELFACTORY_{one.replace('-', '_').upper()}": text for one, text in self._secrets.items()}
        process = ServiceProcess(data, (), {**self.environment(), **named}, role="api")
        self.processes.append(process)
        process.start()
        return process

    def prepare(self, role: str, name: str, *options: str) -> ServiceProcess:
        """Return a process with its secrets that is not started yet."""
        data = self.directory / name
        data.mkdir(mode=0o700)
        for file, secret in self._secrets.items():
            (data / file).touch(0o600)
            (data / file).write_text(secret)
        process = ServiceProcess(data, options, self.environment(), role=role)
        self.processes.append(process)
        return process

    def _start(self, role: str, name: str, *options: str) -> ServiceProcess:
        process = self.prepare(role, name, *options)
        try:
            process.start()
        except AssertionError as error:
            # It may wait for one that has ended.
            others = [one for one in self.processes if one is not process and one.process is not None]
            logs = [f"{one.data_dir.name}: {one.log[-2000:]}" for one in others]
            raise AssertionError("\n".join([str(error), *logs])) from error
        return process

    def close(self) -> None:
        """Stop all processes, API processes first."""
        for service in sorted(self.processes, key=lambda one: one.role):
            if service.process and service.process.poll() is None:
                service.stop()
        self._stack.close()


@contextmanager
def installed(directory: Path, s3: S3Server, time_scale: str = "0.05") -> Iterator[Installation]:
    """Run an installation without processes yet; its books are in order at the end.

    Simulators take the estimated time of an image times `time_scale`.
    """
    cluster = PostgresCluster()
    try:
        cluster.start()
        installation = Installation(directory, cluster, s3, time_scale)
        try:
            yield installation
        finally:
            installation.close()
        if installation.processes:
            assert installation.processes[0].audit() == []
    finally:
        cluster.remove()
