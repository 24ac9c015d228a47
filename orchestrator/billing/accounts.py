"""Accounts and API keys: creation, plan changes and monthly allowances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from orchestrator.billing.api_keys import api_key_prefix, generate_api_key, hash_api_key
from orchestrator.billing.values import Account, ApiKey, ApiKeyLimits
from orchestrator.errors import InvalidRequest
from orchestrator.fair_slots import FairSlots
from pricing.ledger import Balance
from pricing.plans import Plan, Plans, billing_period

SIGNUP_REFERENCE = "sign-up"
NO_LIMITS = ApiKeyLimits()


class PlanAccountStore(Protocol):
    """The part of the store that `AccountService` uses."""

    async def add_account(self, name: str, plan: str, now: datetime) -> Account: ...

    async def resolve_account(self, account_or_key_id: str) -> Account: ...

    async def set_plan(self, account_id: str, plan: str, now: datetime) -> Account: ...

    async def add_key(
        self,
        account_id: str,
        digest: str,
        prefix: str,
        name: str,
        now: datetime,
        *,
        limits: ApiKeyLimits = NO_LIMITS,
        max_active: int | None = None,
    ) -> ApiKey: ...

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> ApiKey: ...

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance: ...

    async def renew_allowance(
        self, account_id: str, micros: int, period_start: datetime, now: datetime
    ) -> Balance: ...

    async def get_balance(self, account_id: str) -> Balance: ...


class AccountService:
    """Creates accounts and keys and renews allowances according to the plans."""

    def __init__(self, store: PlanAccountStore, plans: Plans, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._plans = plans
        self._clock = clock
        #: Slots for reports over many entries, which hold one of the store's few long readers for seconds.
        self.report_slots = FairSlots("reports", 2, per_account=1, max_waiting=16)
        #: Start of the last renewed month per account id, so that most requests skip the store.
        self._renewed_periods: dict[str, datetime] = {}

    def use_plans(self, plans: Plans) -> None:
        """Apply other plans from now on."""
        self._plans = plans

    async def create_account(self, name: str, plan_id: str | None = None) -> Account:
        """Create an account with its sign-up credits and first allowance; None selects the default plan.

        Raises InvalidRequest.
        """
        chosen = self._require_plan(plan_id or self._plans.default.id)
        account = await self._store.add_account(name, chosen.id, self._clock())
        if chosen.signup_micros:
            await self._store.grant(account.id, chosen.signup_micros, SIGNUP_REFERENCE, account.created_at)
        await self.renew_allowance(account)
        return account

    async def change_plan(self, account_id: str, plan_id: str) -> Account:
        """Change the plan from now on; unfinished jobs keep their price. Raises InvalidRequest, NotFound."""
        account = await self._store.set_plan(account_id, self._require_plan(plan_id).id, self._clock())
        await self.renew_allowance(account)
        return account

    async def renew_allowance(self, account: Account) -> None:
        """Begin the account's billing month if it is due. Call it before reading or spending the balance."""
        plan, now = self.get_plan(account), self._clock()
        start, _ = billing_period(account.plan_since, now)
        if self._renewed_periods.get(account.id) != start:
            await self._store.renew_allowance(account.id, plan.monthly_micros, start, now)
            self._renewed_periods[account.id] = start

    async def get_balance(self, account: Account) -> Balance:
        """Return the balance, including this month's allowance."""
        await self.renew_allowance(account)
        return await self._store.get_balance(account.id)

    def now(self) -> datetime:
        return self._clock()

    def get_plan(self, account: Account) -> Plan:
        return self._plans.get_or_default(account.plan)

    async def get_plan_by_account_id(self, account_id: str) -> Plan:
        """Raises NotFound."""
        return self.get_plan(await self._store.resolve_account(account_id))

    async def create_key(
        self,
        account_id: str,
        name: str,
        limits: ApiKeyLimits = NO_LIMITS,
        *,
        max_active: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Create an API key and return it with its secret, which is not stored.

        Raises NotFound, and InvalidRequest if the account has `max_active` active keys already.
        """
        secret = generate_api_key()
        key = await self._store.add_key(
            account_id,
            hash_api_key(secret),
            api_key_prefix(secret),
            name,
            self._clock(),
            limits=limits,
            max_active=max_active,
        )
        return key, secret

    async def rotate_key(self, key_id: str) -> tuple[ApiKey, str]:
        """Revoke a key and return a new one with its secret. Raises NotFound, InvalidRequest."""
        secret = generate_api_key()
        return await self._store.rotate_key(
            key_id, hash_api_key(secret), api_key_prefix(secret), self._clock()
        ), secret

    def _require_plan(self, plan_id: str) -> Plan:
        if plan_id not in self._plans.by_id:
            offered = ", ".join(self._plans.by_id)
            raise InvalidRequest(
                f"`plan` {plan_id!r} does not exist; use one of: {offered}.",
                code="invalid_plan",
                param="plan",
            )
        return self._plans[plan_id]
