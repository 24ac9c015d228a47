"""`/admin/v1/accounts` and `/admin/v1/keys`: operators open accounts and hand out keys."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.accounts import Accounts
from orchestrator.errors import InvalidRequest
from orchestrator.service import Service
from orchestrator.store import Account
from orchestrator.web.account.billing_schemas import AccountView, AccountViews, KeyView, KeyViews
from orchestrator.web.account.key_schemas import KeyTerms, NamedTerms, key_view
from orchestrator.web.auth import require_admin
from orchestrator.web.http.request_model import Form, Name, PositiveUsd, Usd, micros, read_form
from orchestrator.web.openapi.operation import Value, describes

Id = Annotated[str, Field(min_length=1, max_length=100)]
ACCOUNT = Value({"type": "string"}, "Only keys of this account.")


class NewAccount(Form):
    name: Name = "default"
    plan: Id | None = None
    credit_usd: PositiveUsd | None = None


class PlanChange(Form):
    plan: Id


class NewKey(NamedTerms):
    """A key of `account`, or of a new account on `plan` with `credit_usd`."""

    account: Id | None = None
    plan: Id | None = None
    credit_usd: PositiveUsd | None = None


class AdminAccounts:
    """Every request carries the admin token."""

    def __init__(self, service: Service, token: str) -> None:
        self._service = service
        self._accounts: Accounts = service.accounts
        self._store = service.store
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/accounts", self.list),
            web.post("/admin/v1/accounts", self.open),
            web.put("/admin/v1/accounts/{id}/plan", self.change_plan),
            web.get("/admin/v1/keys", self.keys),
            web.post("/admin/v1/keys", self.issue),
            web.put("/admin/v1/keys/{id}/limits", self.limit),
            web.post("/admin/v1/keys/{id}/rotate", self.rotate),
            web.post("/admin/v1/keys/{id}/revoke", self.revoke),
        ]

    @describes(answer=AccountViews)
    async def list(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        return web.json_response(
            {"accounts": [account_view(account) for account in await self._store.list_accounts()]}
        )

    @describes(body=NewAccount, answer=AccountView, status=201)
    async def open(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_form(request, NewAccount)
        account = await self._open(form.name, form.plan, form.credit_usd)
        return web.json_response(account_view(account), status=201)

    @describes(body=PlanChange, answer=AccountView)
    async def change_plan(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_form(request, PlanChange)
        account = await self._store.resolve_account(request.match_info["id"])
        return web.json_response(account_view(await self._accounts.change_plan(account.id, form.plan)))

    @describes(query={"account": ACCOUNT}, answer=KeyViews)
    async def keys(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        keys = await self._store.list_keys(request.query.get("account"))
        return web.json_response({"keys": [key_view(key) for key in keys]})

    @describes(body=NewKey, answer=KeyView, status=201)
    async def issue(self, request: web.Request) -> web.Response:
        """A key, with its secret this once."""
        require_admin(request, self._token)
        form = await read_form(request, NewKey)
        limits = form.limits(self._service.catalog)
        if form.account is None:
            account = await self._open(form.name, form.plan, form.credit_usd)
        elif form.plan is not None or form.credit_usd is not None:
            raise InvalidRequest("`plan` and `credit_usd` are for new accounts", code="invalid_account")
        else:
            account = await self._store.resolve_account(form.account)
        key, secret = await self._accounts.issue_key(account.id, form.name, limits)
        return web.json_response({**key_view(key), "key": secret}, status=201)

    @describes(body=KeyTerms, answer=KeyView)
    async def limit(self, request: web.Request) -> web.Response:
        """Other limits in the place of all that the key has."""
        require_admin(request, self._token)
        form = await read_form(request, KeyTerms)
        key = await self._store.get_key(request.match_info["id"])
        key = await self._store.set_key_limits(key.id, form.limits(self._service.catalog))
        return web.json_response(key_view(key))

    @describes(answer=KeyView, status=201)
    async def rotate(self, request: web.Request) -> web.Response:
        """Another key with the same limits; the old one ends at once."""
        require_admin(request, self._token)
        key, secret = await self._accounts.rotate_key(request.match_info["id"])
        return web.json_response({**key_view(key), "key": secret}, status=201)

    @describes(answer=KeyView)
    async def revoke(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        return web.json_response(
            key_view(await self._store.revoke_key(request.match_info["id"], self._accounts.now()))
        )

    async def _open(self, name: str, plan: str | None, credit: Usd | None) -> Account:
        account = await self._accounts.open(name, plan)
        if credit is not None:
            await self._store.credit(account.id, micros(credit), "first credit", self._accounts.now())
        return account


def account_view(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "plan": account.plan,
        "created_at": account.created_at.isoformat(),
    }
