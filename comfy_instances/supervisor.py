"""Keeps one local instance running: look, ask the policy, carry out, look again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from comfy_instances.errors import InstanceError
from comfy_instances.fleet import InstanceState
from comfy_instances.health import Report, ask
from comfy_instances.inventory import Inventory
from comfy_instances.launches import Launch
from comfy_instances.logfile import LogFile
from comfy_instances.policy import (
    MISSES,
    GiveUp,
    History,
    Restart,
    Rules,
    Start,
    Wait,
    decide,
    worn,
)
from comfy_instances.process import Child, child_environment, describe_exit, free_port
from comfy_instances.roster import Roster
from comfy_instances.session import Session

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
#: Folders that are emptied before each start: what they hold belongs to prompts that nobody knows any more.
EMPTIED = ("input", "output", "temp")


class Supervisor:
    """One instance from its first start to the end of the fleet."""

    #: Seconds between two looks at a starting and at a running child.
    starting_look: ClassVar[float] = 0.05
    running_look: ClassVar[float] = 0.5

    def __init__(self, launch: Launch, rules: Rules, roster: Roster) -> None:
        self.launch = launch
        self.output = LogFile(launch.directory / "log" / "output.log")
        self._rules = rules
        self._roster = roster
        self._history = History()
        self._child: Child | None = None
        self._inventory: Inventory | None = None
        self._port = 0
        self._next_question = 0.0
        self._wish = asyncio.Event()

    def restart(self) -> None:
        """Ask for a planned restart; it happens at the next look, that is within a second."""
        self._wish.set()

    async def run(self) -> None:
        """Supervise until cancelled; then nothing is left running."""
        try:
            while True:
                try:
                    await self._step()
                except Exception:
                    # Our own mistake must not leave an instance without its keeper.
                    log.exception("supervision of %s failed", self.launch.id)
                    await self._end("supervision failed", planned=False)
                    await asyncio.sleep(self.running_look)
        finally:
            await self._end("stopped", planned=True)
            self.output.close()

    async def _step(self) -> None:
        decision = decide(self._history, self._now(), self._rules)
        if isinstance(decision, Start):
            await self._start()
        elif isinstance(decision, Restart):
            await self._end(decision.reason, planned=decision.planned)
        else:
            self._show(decision)
            await self._pause(decision.until)
            await self._look()

    async def _start(self) -> None:
        self._history = self._history.started(self._now())
        self._port = free_port(HOST)
        self._report(
            InstanceState.STARTING,
            url=f"http://{HOST}:{self._port}",
            restarts=self._history.restarts,
            failures=self._history.failures,
            started_at=datetime.now(UTC),
            detail=self._history.reason,
        )
        directory = self.launch.directory
        try:
            await asyncio.to_thread(prepare, directory, self.launch.node_packs)
            self._child = await Child.launch(
                [*self.launch.command, "--port", str(self._port), "--base-directory", str(directory)],
                output=self.output,
                cwd=directory,
                env=child_environment(**self.launch.environment),
            )
        except OSError as error:
            await self._end(f"cannot be launched: {error}", planned=False)

    async def _end(self, reason: str, *, planned: bool) -> None:
        """Stop the child, or what is left of it, and close its session."""
        # Nobody may choose it any more when those who wait for its prompts hear that it is gone.
        self._roster.hold(self.launch.id, None)
        self._report(InstanceState.DOWN, detail=reason, started_at=None, vram_free=None, memory=None)
        # Forgotten only when done: a cancelled end is ended once more.
        if self._inventory is not None:
            await self._inventory.session.close()
            self._inventory = None
        if self._child is not None:
            await self._child.stop(self._rules.stop_seconds)
            self._child = None
        now, history = self._now(), self._history
        self._history = history.stopped(now, reason) if planned else history.ended(now, reason, self._rules)

    async def _pause(self, until: float) -> None:
        """Until the clock says so, the next look is due, the child has ended or a wish has come."""
        seconds = max(0.0, until - self._now())
        wish = asyncio.create_task(self._wish.wait())
        awaited: set[asyncio.Task[Any]] = {wish}
        if self._child is not None:
            awaited.add(self._child.exited)
            ready = self._history.ready_at is not None
            seconds = min(seconds, self.running_look if ready else self.starting_look)
        try:
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wish.cancel()

    async def _look(self) -> None:
        if self._wish.is_set():
            self._wish.clear()
            await self._end("restarted by an operator", planned=True)
        elif self._child is not None:
            await self._look_at(self._child)

    async def _look_at(self, child: Child) -> None:
        if child.exited.done():
            await self._end(self._last_words(child.exited.result()), planned=False)
        elif self._inventory is None:
            await self._connect()
        elif self._now() >= self._next_question:
            await self._question(self._inventory, child)

    async def _connect(self) -> None:
        """Make the session once the port is open: before that there is nobody to talk to."""
        try:
            _, writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        session = Session(f"http://{HOST}:{self._port}")
        self._inventory = Inventory(session, self._rules.files_seconds)
        await session.start()

    async def _question(self, inventory: Inventory, child: Child) -> None:
        """Ask how it is, and whether it has other files. Its first answer makes it ready, if it is ours."""
        first = self._history.ready_at is None
        patience = self._rules.probe_seconds
        if first and not inventory.session.connected:
            return
        try:
            report = await ask(inventory.session, patience)
            facts = await (inventory.first() if first else inventory.news())
        except (InstanceError, TimeoutError):
            self._next_question = self._now() + (self.starting_look if first else patience)
            self._history = self._history if first else self._history.silent(self._now())
            return
        if not report.launched_in(self.launch.directory):
            await self._end(f"another server answers on port {self._port}", planned=False)
            return
        self._next_question = self._now() + patience
        self._history = self._history.answered(self._now(), report.health(child.memory()))
        self._roster.hold(self.launch.id, inventory.session, facts)
        self._take_over(report)

    def _take_over(self, report: Report) -> None:
        self._report(
            self._present_state(),
            version=report.version,
            vram_total=report.vram_total,
            vram_free=report.vram_free,
            memory=self._history.memory,
            detail=self._present_detail(),
        )

    def _show(self, decision: Wait | GiveUp) -> None:
        """Tell the roster the state that follows from what is known."""
        if isinstance(decision, GiveUp):
            self._report(InstanceState.FAILED, detail=decision.reason)
        elif self._child is not None and self._history.ready_at is not None:
            self._report(self._present_state(), detail=self._present_detail())

    @property
    def _connected(self) -> bool:
        return self._inventory is not None and self._inventory.session.connected

    def _present_state(self) -> InstanceState:
        if self._history.missed >= MISSES or not self._connected:
            return InstanceState.DOWN
        return InstanceState.DRAINING if worn(self._history, self._rules) else InstanceState.READY

    def _present_detail(self) -> str | None:
        if self._history.missed >= MISSES:
            return "does not answer"
        if not self._connected:
            return "its socket is lost"
        return "will be recycled once idle" if worn(self._history, self._rules) else None

    def _last_words(self, code: int) -> str:
        lines = [line for line in self.output.tail(20) if line.strip()]
        return f"{describe_exit(code)}: {lines[-1].strip()[:300]}" if lines else describe_exit(code)

    def _report(self, state: InstanceState, **changes: Any) -> None:
        self._roster.report(self.launch.id, state, **changes)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def prepare(directory: Path, node_packs: tuple[Path, ...]) -> None:
    """Make an instance's directories, empty of earlier prompts' files and with exactly these node packs.
    Raises OSError."""
    for name in EMPTIED:
        shutil.rmtree(directory / name, ignore_errors=True)
    packs = directory / "custom_nodes"
    for name in (*EMPTIED, "user", packs.name):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for old in packs.iterdir():
        if old.is_symlink():
            old.unlink()
    for pack in node_packs:
        (packs / pack.name).symlink_to(pack.resolve())
