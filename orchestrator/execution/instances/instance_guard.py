"""Withholds instances from the scheduler while it is unknown what they can run, or while they hang.

A server can be replaced at the same address faster than the fleet notices. After an attempt lost its
instance, the capabilities known so far may be those of the earlier server: the instance gets new shards only
after its node facts were read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.backoff import backoff_delay
from comfy_instances.fleet.protocol import Fleet, FleetError
from comfy_instances.log_text import error_text
from comfy_instances.tasks import spawn
from orchestrator.catalog import Model
from orchestrator.execution.failures import AttemptFailure
from orchestrator.execution.runner import Runner
from orchestrator.jobs import Attempt, FailureKind

log = logging.getLogger(__name__)

#: How long a hung run may take to react to an interrupt before its instance is restarted.
INTERRUPT_TIMEOUT_SECONDS = 10.0
#: How long an instance may take to send its node facts.
RELOAD_TIMEOUT_SECONDS = 20.0
MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.25, 30.0


def verification_backoff(failures: int) -> float:
    """Return the seconds to wait before node facts are read, after so many failures in a row."""
    return 0.0 if failures <= 0 else backoff_delay(failures, MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)


class InstanceGuard:
    """Knows which instances must not be given new shards."""

    def __init__(
        self,
        runner: Runner,
        on_available: Callable[[], None],
        *,
        backoff: Callable[[int], float] = verification_backoff,
    ) -> None:
        """`on_available` is called after the hung run of an instance was dealt with."""
        self._runner = runner
        self._on_available = on_available
        self._backoff = backoff
        #: The outdated node facts of each suspended instance.
        self._outdated_facts: dict[str, Mapping[str, Any] | None] = {}
        #: Attempts in a row that lost their instance before it ran them.
        self._losses: Counter[str] = Counter()
        self._interrupting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _fleet(self) -> Fleet:
        return self._runner.fleet

    def is_withheld(self, instance_id: str) -> bool:
        """Whether the instance must not be given new shards now."""
        return instance_id in self._interrupting or self._is_suspended(instance_id)

    @property
    def has_withheld(self) -> bool:
        """Whether any instance is withheld."""
        return any(self.is_withheld(name) for name in {*self._interrupting, *self._outdated_facts})

    def record_run(self, instance_id: str) -> None:
        """Reset the backoff of an instance, because it ran a prompt."""
        del self._losses[instance_id]

    def suspend_until_verified(self, instance_id: str) -> None:
        """Withhold an instance until its node facts were read again, by the fleet or by this guard."""
        if self._is_suspended(instance_id):
            return
        self._outdated_facts[instance_id] = self._fleet.node_facts(instance_id)
        delay = self._backoff(self._losses[instance_id])
        self._losses[instance_id] += 1
        spawn(self._verify(instance_id, delay), "instance check", instance_id, group=self._tasks)

    async def reload_capabilities(self, instance_id: str) -> bool:
        """Read the node facts of an instance again; False if it does not send them."""
        try:
            async with asyncio.timeout(RELOAD_TIMEOUT_SECONDS):
                await self._fleet.reload_node_facts(instance_id)
        except Exception as error:
            # Not only InstanceError: an instance whose check fails for any reason is checked again.
            log.info("could not read the node facts of %s: %s", instance_id, error_text(error))
            return False
        return True

    async def explain_rejection(
        self, failure: AttemptFailure, model: Model, instance_id: str
    ) -> AttemptFailure:
        """Return `failure`, or a lost instance if the instance no longer has what the model needs."""
        if not await self.reload_capabilities(instance_id):
            return AttemptFailure(FailureKind.INSTANCE_GONE, failure.detail, has_run=False)
        missing = self._runner.capabilities.get(instance_id).missing_requirements(model)
        if not missing:
            return failure
        detail = f"the instance no longer has what {model.id} needs: {missing[0]}"
        return AttemptFailure(FailureKind.INSTANCE_GONE, detail, has_run=False)

    async def interrupt_or_restart(self, attempt: Attempt) -> None:
        """Interrupt a hung run; restart its instance if that has no effect and the fleet owns it."""
        instance_id = attempt.instance_id
        self._interrupting.add(instance_id)
        try:
            async with asyncio.timeout(INTERRUPT_TIMEOUT_SECONDS):
                await self._runner.cancel_attempt(attempt)
        except Exception:
            log.warning("%s does not react to an interrupt and is restarted", instance_id)
            await self._restart(instance_id)
        finally:
            self._interrupting.discard(instance_id)
        self._on_available()

    async def stop(self) -> None:
        """Stop reading node facts."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _is_suspended(self, instance_id: str) -> bool:
        if instance_id not in self._outdated_facts:
            return False
        if self._fleet.node_facts(instance_id) is self._outdated_facts[instance_id]:
            return True
        del self._outdated_facts[instance_id]
        return False

    async def _verify(self, instance_id: str, delay: float) -> None:
        """Read the node facts until that succeeds. The fleet then reports the instance as changed."""
        await asyncio.sleep(delay)
        failures = 0
        while self._is_suspended(instance_id) and not await self.reload_capabilities(instance_id):
            failures += 1
            await asyncio.sleep(self._backoff(failures))

    async def _restart(self, instance_id: str) -> None:
        try:
            await self._fleet.restart(instance_id)
        except FleetError as error:
            # An adopted instance, or one that the fleet does not have.
            log.error("%s hangs and cannot be restarted: %s", instance_id, error)
