"""Does at intervals what no request does: figures for alerts, the audit of the books, prices, old events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic

from comfy_instances.tasks import keep_running, spawn
from orchestrator.app.resources import utc_now
from orchestrator.billing.price_files import load_costs
from orchestrator.billing.reports import MarginGroupBy, total_margins
from orchestrator.errors import ServiceError
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.web.metrics.operations import OperationsFigures, OperationsMetrics
from pricing.costs import CostRates
from pricing.money import to_usd
from pricing.tariff import DEFAULT_TARIFF, Tariff

log = logging.getLogger(__name__)

#: Between two looks at the figures, and between two deletions of old events, in seconds.
LOOK_SECONDS, FORGET_SECONDS = 15.0, 3600.0
#: How long an unfinished job may be unknown to the scheduler.
STUCK_AFTER = timedelta(minutes=10)
#: Unfinished jobs that are looked at.
MAX_OLD_JOBS = 500
#: Who makes the events that are not made by a request.
SERVICE = "service"
PRICES_ACTION = "prices.change"


@dataclass(kw_only=True, slots=True)
class OperationsKeeper:
    """Runs in the process that runs the jobs, until it is stopped."""

    store: Store
    dispatcher: Dispatcher
    metrics: OperationsMetrics
    read_tariff: Callable[[], Tariff]
    costs: CostRates
    event_lifetime: timedelta
    audit_seconds: float
    clock: Callable[[], datetime] = utc_now
    _audited_at: float = field(default=float("-inf"), init=False)
    _forgotten_at: float = field(default=float("-inf"), init=False)
    _violations: int | None = field(default=None, init=False)
    _prices: Mapping[str, str] | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def start(self) -> None:
        """Begin to look at regular intervals."""
        spawn(keep_running(self._run, "operations keeper"), "operations keeper", group=self._tasks)

    async def stop(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for step in (self._look, self._note_prices, self._forget_events, self._audit):
                await self._try(step)
            await asyncio.sleep(LOOK_SECONDS)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except ServiceError as error:
            log.warning("%s is tried again later: %s", step.__name__.strip("_"), error)

    async def _look(self) -> None:
        now = self.clock()
        known = {active.job.id for active in self.dispatcher.unfinished_shards()}
        old = await self.store.list_old_unfinished(now - STUCK_AFTER, MAX_OLD_JOBS)
        rows = await self.store.list_metered_usage(now.date(), now.date() + timedelta(days=1))
        margins = total_margins(rows, self.costs, MarginGroupBy.MODEL)
        self.metrics.figures = OperationsFigures(
            at=now,
            backlog=await self.store.read_backlog(now),
            stuck_jobs=sum(job_id not in known for job_id in old),
            revenue={margin.key: to_usd(margin.revenue) for margin in margins},
            cost={margin.key: to_usd(margin.cost) for margin in margins},
            violations=self._violations,
        )

    async def _audit(self) -> None:
        if monotonic() - self._audited_at < self.audit_seconds:
            return
        violations = await self.store.audit_ledger()
        self._audited_at, self._violations = monotonic(), len(violations)
        for violation in violations[:10]:
            log.error("the ledger breaks %s: %s, %s", violation.rule, violation.subject, violation.detail)
        if self.metrics.figures is not None:
            self.metrics.figures = replace(self.metrics.figures, violations=self._violations)

    async def _forget_events(self) -> None:
        if monotonic() - self._forgotten_at < FORGET_SECONDS:
            return
        forgotten = await self.store.forget_operator_events(self.clock() - self.event_lifetime)
        self._forgotten_at = monotonic()
        if forgotten:
            log.info("%d event(s) of operators are too old and were deleted", forgotten)

    async def _note_prices(self) -> None:
        """Record prices that have changed since they were recorded last, however their files were changed."""
        prices = self._read_prices()
        if prices == self._prices:
            return
        page = await self.store.list_operator_events(1, action=PRICES_ACTION, subject=DEFAULT_TARIFF)
        recorded = page.items[0].detail.get("prices", {}) if page.items else None
        if recorded != prices:
            # The first record of an installation names all of them: they have just been set.
            known = recorded or {}
            changed = sorted(
                name for name in known.keys() | prices.keys() if known.get(name) != prices.get(name)
            )
            before = {name: known[name] for name in changed if name in known}
            await self.store.add_operator_event(
                OperatorEvent(
                    at=self.clock(),
                    actor=SERVICE,
                    action=PRICES_ACTION,
                    subject=DEFAULT_TARIFF,
                    detail={"changed": changed, "before": before, "prices": prices},
                )
            )
        self._prices = prices

    def _read_prices(self) -> dict[str, str]:
        tariff = self.read_tariff()
        return {name: f"{float(tariff.base_micros(name)) / 1e6:.6f}" for name in sorted(tariff.prices)}


def build_operations_keeper(
    settings: Settings, service: GenerationService, dispatcher: Dispatcher, metrics: OperationsMetrics
) -> OperationsKeeper:
    """Return the keeper of a process that runs the jobs. Raises CostsError."""
    return OperationsKeeper(
        store=service.store,
        dispatcher=dispatcher,
        metrics=metrics,
        read_tariff=lambda: service.default_tariff,
        costs=load_costs(settings),
        event_lifetime=timedelta(days=settings.event_days),
        audit_seconds=settings.audit_hours * 3600,
    )
