"""Any sequence of jobs, payments, failures, races and restarts, against a plain model of the wallet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.errors import InsufficientBalance
from orchestrator.jobs import Job, JobError, JobRecord, JobStatus
from tests.support.repeats import tries
from tests.support.store_harness import START, StoreHarness, open_store, picture_of, populate

ERROR = JobError(code="generation_failed", message="It failed.")
PRICES = st.sampled_from((0, 1, 5_000, 10_000, 400_000))
OPENING = 1_000_000


class StoreMachine(RuleBasedStateMachine):
    """The model: what was paid in or given, what was charged, and what is unfinished."""

    kind = "sqlite"

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.world: StoreHarness = self.runner.run(self._open())
        self.paid, self.charged, self.payments = OPENING, 0, 0
        self.unfinished: dict[str, JobRecord] = {}
        self.succeeded: dict[str, Job] = {}
        #: Months since the start: now, and of the latest renewal that counted.
        self.month, self.renewed = 0, -1

    async def _open(self) -> StoreHarness:
        return await populate(open_store(self.kind, Path(self.directory.name)), OPENING)

    @property
    def available(self) -> int:
        return self.paid - self.charged - sum(record.job.price for record in self.unfinished.values())

    @rule(micros=st.integers(1, 10**6), again=st.booleans())
    def pay(self, micros: int, again: bool) -> None:
        self.payments += 1
        for _ in range(1 + again):
            self.runner.run(
                self.world.store.credit(
                    self.world.account.id, micros, f"payment {self.payments}", self.world.now
                )
            )
        self.paid += micros

    @rule(prices=st.lists(PRICES, min_size=1, max_size=6), n=st.integers(1, 3))
    def submit(self, prices: list[int], n: int) -> None:
        """Several callers at once: no more is accepted than can be paid."""

        async def attempt(price: int) -> JobRecord | None:
            try:
                return await self.world.add(n, price)
            except InsufficientBalance:
                return None

        async def all_at_once() -> list[JobRecord | None]:
            return await asyncio.gather(*map(attempt, prices))

        records = self.runner.run(all_at_once())
        self.unfinished |= {record.job.id: record for record in records if record}
        assert self.available >= 0
        assert all(
            price > self.available for price, record in zip(prices, records, strict=True) if not record
        )

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data(), cancel=st.booleans(), replays=st.integers(0, 2))
    def give_up(self, data: st.DataObject, cancel: bool, replays: int) -> None:
        record = self.unfinished.pop(data.draw(st.sampled_from(sorted(self.unfinished))))
        for _ in range(1 + replays):
            store, now = self.world.store, self.world.later()
            self.runner.run(
                store.cancel_job(record.job.id, now) if cancel else store.fail_job(record.job.id, ERROR, now)
            )

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data(), cancelled_meanwhile=st.booleans())
    def run(self, data: st.DataObject, cancelled_meanwhile: bool) -> None:
        """All shards of a job run at once, are reported twice, and perhaps race with a cancel."""
        record = self.unfinished.pop(data.draw(st.sampled_from(sorted(self.unfinished))))

        async def race() -> JobRecord:
            shards = range(len(record.shards))
            attempts = [await self.world.start(record, index) for index in shards]
            reports = [self.world.finish(attempt, [picture_of(attempt)]) for attempt in attempts * 2]
            if cancelled_meanwhile:
                reports.insert(1, self.world.store.cancel_job(record.job.id, self.world.now))
            await asyncio.gather(*reports)
            return await self.world.again(record)

        status = self.runner.run(race()).job.status
        assert status in (JobStatus.SUCCEEDED, JobStatus.CANCELLED)
        assert cancelled_meanwhile or status is JobStatus.SUCCEEDED
        if status is JobStatus.SUCCEEDED:
            self.charged += record.job.price
        if status is JobStatus.SUCCEEDED and record.job.price:
            self.succeeded[record.job.id] = record.job

    @precondition(lambda self: self.succeeded)
    @rule(data=st.data(), replays=st.integers(0, 2))
    def refund(self, data: st.DataObject, replays: int) -> None:
        """Give back all, or all but one micro-dollar."""
        job = self.succeeded.pop(data.draw(st.sampled_from(sorted(self.succeeded))))
        kept = data.draw(st.integers(0, min(1, job.price - 1)))
        for _ in range(1 + replays):
            refund = self.world.store.refund(job.id, job.price - kept, "ticket", self.world.later())
            self.runner.run(refund)
        self.charged -= job.price - kept

    @rule(months=st.integers(-1, 2), allowance=st.sampled_from((0, 50_000)))
    def renew(self, months: int, allowance: int) -> None:
        """A month ends: what is left of its allowance goes, another comes."""
        store, account = self.world.store, self.world.account.id
        left = self.runner.run(store.remaining_allowance(account))
        self.month = max(self.month + months, 0)
        start = START + timedelta(days=31 * self.month)
        self.runner.run(store.renew_allowance(account, allowance, start, self.world.later()))
        if self.month > self.renewed:
            self.renewed = self.month
            self.paid += allowance - left

    @rule()
    def restart(self) -> None:
        self.runner.run(self.world.store.close())
        self.world.store = open_store(self.kind, Path(self.directory.name))

    @invariant()
    def wallet_is_as_expected(self) -> None:
        balance = self.runner.run(self.world.store.get_balance(self.world.account.id))
        assert (balance.available, balance.total) == (self.available, self.paid - self.charged)

    @invariant()
    def books_are_in_order(self) -> None:
        assert self.runner.run(self.world.store.audit_ledger()) == []
        unfinished = self.runner.run(self.world.store.list_unfinished_jobs())
        assert {record.job.id for record in unfinished} == set(self.unfinished)

    def teardown(self) -> None:
        self.runner.run(self.world.store.close())
        self.runner.close()
        self.directory.cleanup()


class MemoryStoreMachine(StoreMachine):
    kind = "memory"


class PostgresStoreMachine(StoreMachine):
    kind = "postgres"


TestMemoryStoreMachine = MemoryStoreMachine.TestCase
TestMemoryStoreMachine.settings = settings(max_examples=tries(50), stateful_step_count=15, deadline=None)
TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=tries(30), stateful_step_count=15, deadline=None)
TestPostgresStoreMachine = pytest.mark.slow(PostgresStoreMachine.TestCase)
TestPostgresStoreMachine.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
