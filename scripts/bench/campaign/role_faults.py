"""Faults of a campaign against several processes: what is killed, stopped, restarted or cut off."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from scripts.bench.campaign.faults import FaultInjector
from scripts.bench.campaign.roles import SUCCEEDED, RoleRig
from scripts.bench.program import WAIT_SECONDS, Program, seconds_until

_SET_READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = {}"
_RELOAD = "SELECT pg_reload_conf()"
_END_CONNECTIONS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""


class RoleFaultInjector(FaultInjector):
    """Injects one fault at a time, once the processes that it concerns answer."""

    def __init__(self, rig: RoleRig, rng: random.Random, tmpfs: Path | None) -> None:
        super().__init__(rig, rng, tmpfs)
        self._roles = rig

    async def inject(self, kind: str) -> None:
        await self._roles.wait_until_ready(self._concerned(kind))
        await super().inject(kind)

    def _concerned(self, kind: str) -> Sequence[Program]:
        if kind in ("kill_leader", "kill_standby", "stop_leader"):
            return self._roles.schedulers
        if kind == "kill_api":
            return self._roles.apis
        if kind in ("restart_postgres", "kill_postgres", "end_connections", "read_only"):
            return self._roles.programs
        return ()

    async def end(self) -> None:
        await super().end()
        await self._roles.wait_until_ready(self._roles.programs)

    async def kill_leader(self) -> None:
        await self._kill(await self._leader())

    async def kill_standby(self) -> None:
        leader = await self._leader()
        await self._kill(next(one for one in self._roles.schedulers if one is not leader))

    async def kill_api(self) -> None:
        await self._kill(self._rng.choice(self._roles.apis))

    async def kill_sender(self) -> None:
        await self._kill(self._rng.choice(self._roles.senders))

    async def stop_leader(self) -> None:
        """Stop the leader until the standby leads: it ends when it goes on, with a status that tells why."""
        leader = await self._leader()
        process = leader.process
        assert process is not None
        leader.send(signal.SIGSTOP)
        try:
            await seconds_until(time.monotonic(), lambda: self._roles.leader() is not leader)
        finally:
            leader.send(signal.SIGCONT)
        code = await asyncio.to_thread(process.wait, WAIT_SECONDS)
        if code != SUCCEEDED:
            self._roles.unexpected_ends.append(f"{leader.name} was succeeded and ended with {code}")

    async def restart_postgres(self) -> None:
        await self._interrupt_postgres(signal.SIGINT)

    async def kill_postgres(self) -> None:
        await self._interrupt_postgres(signal.SIGQUIT)

    async def end_connections(self) -> None:
        await asyncio.to_thread(self._roles.postgres.execute, _END_CONNECTIONS)

    async def read_only(self) -> None:
        """All transactions are read-only for a second, as on a standby server."""
        execute = self._roles.postgres.execute
        await asyncio.to_thread(execute, _SET_READ_ONLY.format("on"), _RELOAD)
        await asyncio.sleep(1)
        await asyncio.to_thread(execute, _SET_READ_ONLY.format("off"), _RELOAD)

    async def pause_s3(self) -> None:
        await self._pause(self._roles.s3_servers(), 1)

    async def _interrupt_postgres(self, how: signal.Signals) -> None:
        await asyncio.to_thread(self._roles.postgres.stop, how)
        await asyncio.sleep(self._rng.uniform(0, 2))
        await asyncio.to_thread(self._roles.postgres.start)

    async def _kill(self, program: Program) -> None:
        assert program.process is not None
        process = program.process
        program.send(signal.SIGKILL)
        # The rig starts it again.
        await seconds_until(time.monotonic(), lambda: program.process is not process)

    async def _leader(self) -> Program:
        return await asyncio.to_thread(self._roles.leader)

    faults: ClassVar[Mapping[str, Callable[..., Awaitable[None]]]] = {
        "kill_leader": kill_leader,
        "kill_standby": kill_standby,
        "kill_api": kill_api,
        "kill_sender": kill_sender,
        "kill_instance": FaultInjector.kill_instance,
        "stop_leader": stop_leader,
        "restart_postgres": restart_postgres,
        "kill_postgres": kill_postgres,
        "end_connections": end_connections,
        "read_only": read_only,
        "pause_s3": pause_s3,
        "receiver_away": FaultInjector.receiver_away,
    }
