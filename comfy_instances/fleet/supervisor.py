"""Keeps one local instance running: checks the child, asks the policy, carries out its decision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Unpack

from comfy_instances.fleet.fleet_base import FleetBase, InstanceChanges
from comfy_instances.fleet.health import HealthReport, check_health
from comfy_instances.fleet.inventory import NodeFactsPoller
from comfy_instances.fleet.pack_changes import PackChanges, RefreshLaunchSpec, RestartTurn
from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.log_text import error_text
from comfy_instances.process.child import ChildProcess, child_environment, find_free_port, format_exit_status
from comfy_instances.process.installed_packs import PackSource
from comfy_instances.process.launch import LaunchSpec
from comfy_instances.process.log_file import RotatingLogFile
from comfy_instances.process.restart_policy import (
    MAX_MISSED_PROBES,
    CircuitOpen,
    Restart,
    RestartPolicy,
    Start,
    SupervisionHistory,
    Wait,
    decide,
    is_draining,
)
from comfy_instances.protocol.errors import InstanceError, InstanceGone
from comfy_instances.repeated_errors import RepeatedErrors
from comfy_instances.session.session import InstanceSession
from comfy_instances.shortages import is_resource_shortage
from comfy_instances.tasks import loop_time, spawn

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
#: Why a start failed whose port another program took first.
PORT_TAKEN = "another server responds on port"
#: Longest pause after errors of the supervision itself.
MAX_ERROR_PAUSE_S = 5.0
#: Folders that are emptied before each start: their files belong to prompts of an earlier process.
TRANSIENT_FOLDERS = ("input", "output", "temp")
#: Marks a folder in `custom_nodes` as our copy of a managed node pack.
COPY_MARK = ".pixelfactory-copy"


class Supervisor:
    """Supervises one instance from its first start until the fleet stops."""

    #: Seconds between two checks of a starting and of a running child.
    startup_poll_seconds: ClassVar[float] = 0.05
    running_poll_seconds: ClassVar[float] = 0.5

    def __init__(
        self,
        launch_spec: LaunchSpec,
        policy: RestartPolicy,
        fleet: FleetBase,
        refresh: RefreshLaunchSpec | None = None,
        turn: RestartTurn | None = None,
    ) -> None:
        """`refresh` returns the spec for the next start: the node packs to load may have changed. `turn` is
        shared by the instances that are restarted for that one after the other."""
        self.launch_spec = launch_spec
        self._pack_changes = PackChanges(refresh, turn or RestartTurn(), policy.pack_check_seconds)
        self.log_file = RotatingLogFile(launch_spec.directory / "log" / "output.log")
        self._policy = policy
        self._fleet = fleet
        self._history = SupervisionHistory()
        self._child: ChildProcess | None = None
        self._facts_poller: NodeFactsPoller | None = None
        self._port = 0
        self._next_probe_at = 0.0
        #: When the next start is due: in the clock of the event loop, and as a date.
        self._retry: tuple[float, datetime] | None = None
        self._restart_requested = asyncio.Event()
        self._errors = RepeatedErrors(log, f"supervision of {launch_spec.id}")

    def request_restart(self) -> None:
        """Request a planned restart and return at once; the supervision task carries it out."""
        self._restart_requested.set()

    def record_failure(self) -> None:
        """Count the last end of the instance as a failure: the prompt that ran is not its cause."""
        self._history = self._history.after_blame(loop_time(), self._policy)
        self._update_state(self._fleet.observed_state(self.launch_spec.id), failures=self._history.failures)

    async def run(self) -> None:
        """Supervise until cancelled, then stop the child."""
        try:
            while True:
                try:
                    await self._apply_decision()
                except Exception as error:
                    # Whatever went wrong here, the instance stays supervised: the decision is repeated.
                    self._record_error(error)
                    await asyncio.sleep(self._errors.backoff(self.running_poll_seconds, MAX_ERROR_PAUSE_S))
        finally:
            await self._stop_child("stopped", planned=True)
            self.log_file.close()

    def _record_error(self, error: BaseException) -> None:
        self._errors.record(error)
        self._history = self._history.after_shortage(loop_time())
        self._update_state(
            self._fleet.observed_state(self.launch_spec.id), supervision_errors=self._errors.total
        )

    async def _apply_decision(self) -> None:
        decision = decide(self._history, loop_time(), self._policy)
        if isinstance(decision, Start):
            await self._launch()
        elif isinstance(decision, Restart):
            await self._stop_child(decision.reason, planned=decision.planned)
        else:
            self._publish_decision(decision)
            await self._wait_for_change(decision.until)
            await self._check()

    async def _launch(self) -> None:
        self._history = self._history.after_start(loop_time())
        try:
            await self._start_child()
        except Exception as error:
            # OSError from the system, RuntimeError without a free thread, ...: the launch is repeated.
            await self._abandon_launch(error)

    async def _start_child(self) -> None:
        self._port, self._next_probe_at = find_free_port(HOST), 0.0
        self._update_state(
            InstanceState.STARTING,
            url=f"http://{HOST}:{self._port}",
            restarts=self._history.restarts,
            failures=self._history.failures,
            started_at=datetime.now(UTC),
            retry_at=None,
            detail=self._history.reason,
        )
        self.launch_spec = await self._pack_changes.next_spec(self.launch_spec)
        spec, directory = self.launch_spec, self.launch_spec.directory
        await asyncio.to_thread(prepare_directories, directory, spec.node_packs, spec.copied_packs)
        self._child = await ChildProcess.launch(
            [*self.launch_spec.command, "--port", str(self._port), "--base-directory", str(directory)],
            output=self.log_file,
            cwd=directory,
            env=child_environment(**self.launch_spec.environment),
        )

    async def _abandon_launch(self, error: Exception) -> None:
        """Note that the child could not be launched; a lack of our own resources is no failure of it."""
        reason = f"cannot be launched: {error_text(error)}"
        if not is_resource_shortage(error):
            await self._stop_child(reason, planned=False)
            return
        self._record_error(error)
        self._history = self._history.after_prevented_start(loop_time(), reason)
        self._update_state(InstanceState.DOWN, detail=reason, started_at=None)

    async def _stop_child(self, reason: str, *, planned: bool) -> None:
        """Stop the child, or what is left of it, and close its session.

        An end that is not `planned` counts as a failure of the instance unless it ran a prompt.
        """
        # Unpublish the session first, so that retries of its prompts do not pick this instance again.
        self._fleet.set_session(self.launch_spec.id, None)
        self._update_state(InstanceState.DOWN, detail=reason, started_at=None, vram_free=None, memory=None)
        under_prompt = False
        # Each is cleared only after it has stopped: a cancelled stop is repeated by `run`.
        if self._facts_poller is not None:
            session = self._facts_poller.session
            await session.close(self_inflicted=planned)
            # Asked in any case: what ran on the process that ends does not run on the next one.
            runs_foreign = self._fleet.runs_foreign_prompt(self.launch_spec.id)
            under_prompt = session.has_lost_running_prompt or runs_foreign
            self._facts_poller = None
        if self._child is not None:
            await self._child.stop(self._policy.stop_timeout_seconds)
            self._child = None
        now, history = loop_time(), self._history
        self._history = (
            history.after_stop(now, reason)
            if planned
            else history.after_crash(now, reason, self._policy, under_prompt=under_prompt)
        )

    async def _wait_for_change(self, until: float) -> None:
        """Wait until `until`, the next check, the end of the child or a restart request."""
        seconds = max(0.0, until - loop_time())
        request = spawn(self._restart_requested.wait(), "restart request", self.launch_spec.id)
        awaited: set[asyncio.Task[Any]] = {request}
        if self._child is not None:
            awaited.add(self._child.exited)
            ready = self._history.ready_at is not None
            seconds = min(seconds, self.running_poll_seconds if ready else self.startup_poll_seconds)
        try:
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            request.cancel()

    async def _check(self) -> None:
        if self._restart_requested.is_set():
            self._restart_requested.clear()
            await self._stop_child("restarted by an operator", planned=True)
        elif self._child is not None:
            await self._check_child(self._child)

    async def _check_child(self, child: ChildProcess) -> None:
        if child.exited.done():
            await self._stop_child(self._format_exit_reason(child.exited.result()), planned=False)
        elif loop_time() < self._next_probe_at:
            return
        elif self._facts_poller is None:
            await self._connect()
        else:
            await self._probe_health(self._facts_poller, child)

    async def _connect(self) -> None:
        """Create the session once the port accepts connections."""
        try:
            _, writer = await asyncio.open_connection(HOST, self._port)
        except OSError as error:
            if is_resource_shortage(error):
                self._record_error(error)
                self._next_probe_at = loop_time() + self._policy.probe_seconds
            return
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        session = InstanceSession(f"http://{HOST}:{self._port}")
        self._facts_poller = NodeFactsPoller(session, self._policy.file_refresh_seconds)
        await session.start()

    async def _probe_health(self, facts_poller: NodeFactsPoller, child: ChildProcess) -> None:
        """Probe health and model files. The first response of our own child makes the instance ready."""
        first = self._history.ready_at is None
        interval = self._policy.probe_seconds
        if first and not facts_poller.session.is_connected:
            return
        try:
            report = await check_health(facts_poller.session, interval)
            facts = await (facts_poller.load() if first else facts_poller.refresh_if_changed())
        except (InstanceError, TimeoutError) as error:
            self._next_probe_at = loop_time() + (self.startup_poll_seconds if first else interval)
            if isinstance(error, InstanceGone) and error.self_inflicted:
                self._record_error(error)
                self._next_probe_at = loop_time() + interval
            elif not first:
                self._history = self._history.after_missed_probe(loop_time())
            return
        self._errors.clear()
        if not report.was_launched_in(self.launch_spec.directory):
            await self._stop_child(f"{PORT_TAKEN} {self._port}", planned=False)
            return
        self._next_probe_at = loop_time() + interval
        self._history = self._history.after_response(
            loop_time(), report.to_health_sample(child.resident_memory())
        )
        outdated = await self._pack_changes.check(self.launch_spec)
        self._history = replace(self._history, outdated=outdated)
        self._fleet.set_session(self.launch_spec.id, facts_poller.session, facts)
        self._publish_health(report)

    def _publish_health(self, report: HealthReport) -> None:
        self._update_state(
            self._current_state(),
            version=report.version,
            vram_total=report.vram_total,
            vram_free=report.vram_free,
            memory=self._history.memory,
            detail=self._current_detail(),
        )

    def _publish_decision(self, decision: Wait | CircuitOpen) -> None:
        """Update the fleet with the state that follows from the history."""
        if isinstance(decision, CircuitOpen):
            self._update_state(
                InstanceState.FAILED, detail=decision.reason, retry_at=self._to_wall_clock(decision.until)
            )
        elif self._child is None:
            state = self._fleet.observed_state(self.launch_spec.id)
            self._update_state(state, retry_at=self._to_wall_clock(decision.until))
        elif self._child is not None and self._history.ready_at is not None:
            self._update_state(self._current_state(), detail=self._current_detail())

    def _to_wall_clock(self, moment: float) -> datetime:
        """Return a time of the event loop's clock as a date, the same one each time."""
        if self._retry is None or self._retry[0] != moment:
            self._retry = moment, datetime.now(UTC) + timedelta(seconds=moment - loop_time())
        return self._retry[1]

    @property
    def _is_connected(self) -> bool:
        return self._facts_poller is not None and self._facts_poller.session.is_connected

    def _current_state(self) -> InstanceState:
        if self._history.missed >= MAX_MISSED_PROBES or not self._is_connected:
            return InstanceState.DOWN
        return InstanceState.DRAINING if is_draining(self._history, self._policy) else InstanceState.READY

    def _current_detail(self) -> str | None:
        if self._history.missed >= MAX_MISSED_PROBES:
            return "does not respond"
        if not self._is_connected:
            return "websocket lost"
        if self._history.outdated:
            return "will be restarted once idle: its node packs have changed"
        if self._pack_changes.is_outdated:
            return "waits for its turn to be restarted: its node packs have changed"
        return "will be restarted once idle" if is_draining(self._history, self._policy) else None

    def _format_exit_reason(self, code: int) -> str:
        lines = [line for line in self.log_file.tail(20) if line.strip()]
        return f"{format_exit_status(code)}: {lines[-1].strip()[:300]}" if lines else format_exit_status(code)

    def _update_state(self, state: InstanceState, **changes: Unpack[InstanceChanges]) -> None:
        self._fleet.update_state(self.launch_spec.id, state, **changes)


def prepare_directories(
    directory: Path, node_packs: tuple[Path, ...], copied_packs: tuple[PackSource, ...] = ()
) -> None:
    """Create an instance's directories, delete the files of earlier prompts, link exactly `node_packs`, and
    copy exactly `copied_packs`. Raises OSError."""
    for name in TRANSIENT_FOLDERS:
        shutil.rmtree(directory / name, ignore_errors=True)
    packs = directory / "custom_nodes"
    for name in (*TRANSIENT_FOLDERS, "user", packs.name):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for old in packs.iterdir():
        if old.is_symlink():
            old.unlink()
        elif (old / COPY_MARK).exists():
            shutil.rmtree(old)
    for pack in node_packs:
        (packs / pack.name).symlink_to(pack.resolve())
    for copied in copied_packs:
        copy = packs / copied.name
        if copy.exists():
            raise FileExistsError(f"{copy} is in the way of the node pack {copied.name}: remove it")
        copy.mkdir()
        # First, so that an interrupted copy is replaced by the next start.
        (copy / COPY_MARK).touch()
        shutil.copytree(
            copied.directory, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True
        )
