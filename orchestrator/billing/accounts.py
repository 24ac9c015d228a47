"""Accounts and their keys: opened, changed and renewed by the rules of their plans."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from orchestrator.billing.api_keys import api_key_prefix, generate_api_key, hash_api_key
from orchestrator.errors import InvalidRequest
from orchestrator.store import Account, ApiKey, ApiKeyLimits, Store
from pricing.ledger import Balance
from pricing.plans import Plan, Plans, billing_period

SIGNUP_REFERENCE = "sign-up"
NO_LIMITS = ApiKeyLimits()


class AccountService:
    """The rules of plans, applied to the store."""

    def __init__(self, store: Store, plans: Plans, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._plans = plans
        self._clock = clock
        #: The billing month that each account is known to be in, so that most requests write nothing.
        self._renewed_periods: dict[str, datetime] = {}

    async def create_account(self, name: str, plan_id: str | None = None) -> Account:
        """A new account with what its plan gives at once; None is the default plan. Raises InvalidRequest."""
        chosen = self._require_plan(plan_id or self._plans.default.id)
        account = await self._store.add_account(name, chosen.id, self._clock())
        if chosen.signup_micros:
            await self._store.grant(account.id, chosen.signup_micros, SIGNUP_REFERENCE, account.created_at)
        await self.renew_allowance(account)
        return account

    async def change_plan(self, account_id: str, plan_id: str) -> Account:
        """From now on by another plan; unfinished jobs keep their price. Raises InvalidRequest, NotFound."""
        account = await self._store.set_plan(account_id, self._require_plan(plan_id).id, self._clock())
        await self.renew_allowance(account)
        return account

    async def renew_allowance(self, account: Account) -> None:
        """Begins the account's billing month if that is due: asked for before its money is looked at."""
        plan, now = self.get_plan(account), self._clock()
        start, _ = billing_period(account.plan_since, now)
        if self._renewed_periods.get(account.id) != start:
            await self._store.renew_allowance(account.id, plan.monthly_micros, start, now)
            self._renewed_periods[account.id] = start

    async def get_balance(self, account: Account) -> Balance:
        """What the account has now, this month's allowance included."""
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
        self, account_id: str, name: str, limits: ApiKeyLimits = NO_LIMITS
    ) -> tuple[ApiKey, str]:
        """A further key of an account, and its secret, which nobody will see again. Raises NotFound."""
        secret = generate_api_key()
        key = await self._store.add_key(
            account_id, hash_api_key(secret), api_key_prefix(secret), name, self._clock(), limits=limits
        )
        return key, secret

    async def rotate_key(self, key_id: str) -> tuple[ApiKey, str]:
        """A new secret in the place of an old one, which ends at once. Raises NotFound, InvalidRequest."""
        secret = generate_api_key()
        return await self._store.rotate_key(
            key_id, hash_api_key(secret), api_key_prefix(secret), self._clock()
        ), secret

    def _require_plan(self, plan_id: str) -> Plan:
        if plan_id not in self._plans.by_id:
            offered = ", ".join(self._plans.by_id)
            raise InvalidRequest(
                f"There is no plan {plan_id!r}, only {offered}", code="invalid_plan", param="plan"
            )
        return self._plans[plan_id]
