"""`/admin/v1/accounts` and `/admin/v1/keys`: operators open accounts and hand out keys."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.accounts import AccountService
from orchestrator.errors import InvalidRequest
from orchestrator.service import GenerationService
from orchestrator.store import Account
from orchestrator.web.account.billing_schemas import AccountList, AccountResponse, ApiKeyList, ApiKeyResponse
from orchestrator.web.account.key_schemas import CreateKeyRequest, KeyLimitsRequest, to_api_key_response
from orchestrator.web.auth import require_admin
from orchestrator.web.http.request_model import (
    DisplayName,
    PositiveUsd,
    RequestModel,
    Usd,
    read_request_model,
    usd_to_micros,
)
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation

IdText = Annotated[str, Field(min_length=1, max_length=100)]
ACCOUNT_PARAM = ParameterSpec({"type": "string"}, "Only keys of this account.")


class CreateAccountRequest(RequestModel):
    name: DisplayName = "default"
    plan: IdText | None = None
    credit_usd: PositiveUsd | None = None


class ChangePlanRequest(RequestModel):
    plan: IdText


class AdminCreateKeyRequest(CreateKeyRequest):
    """A key of `account`, or of a new account on `plan` with `credit_usd`."""

    account: IdText | None = None
    plan: IdText | None = None
    credit_usd: PositiveUsd | None = None


class AccountAdminRoutes:
    """Every request carries the admin token."""

    def __init__(self, service: GenerationService, token: str) -> None:
        self._service = service
        self._accounts: AccountService = service.accounts
        self._store = service.store
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/accounts", self.list_accounts),
            web.post("/admin/v1/accounts", self.create_account),
            web.put("/admin/v1/accounts/{id}/plan", self.change_plan),
            web.get("/admin/v1/keys", self.list_keys),
            web.post("/admin/v1/keys", self.create_key),
            web.put("/admin/v1/keys/{id}/limits", self.set_key_limits),
            web.post("/admin/v1/keys/{id}/rotate", self.rotate_key),
            web.post("/admin/v1/keys/{id}/revoke", self.revoke_key),
        ]

    @openapi_operation(response=AccountList)
    async def list_accounts(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        return web.json_response(
            {"accounts": [to_account_response(account) for account in await self._store.list_accounts()]}
        )

    @openapi_operation(body=CreateAccountRequest, response=AccountResponse, status=201)
    async def create_account(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_request_model(request, CreateAccountRequest)
        account = await self._create_account(form.name, form.plan, form.credit_usd)
        return web.json_response(to_account_response(account), status=201)

    @openapi_operation(body=ChangePlanRequest, response=AccountResponse)
    async def change_plan(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        form = await read_request_model(request, ChangePlanRequest)
        account = await self._store.resolve_account(request.match_info["id"])
        return web.json_response(to_account_response(await self._accounts.change_plan(account.id, form.plan)))

    @openapi_operation(query={"account": ACCOUNT_PARAM}, response=ApiKeyList)
    async def list_keys(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        keys = await self._store.list_keys(request.query.get("account"))
        return web.json_response({"keys": [to_api_key_response(key) for key in keys]})

    @openapi_operation(body=AdminCreateKeyRequest, response=ApiKeyResponse, status=201)
    async def create_key(self, request: web.Request) -> web.Response:
        """A key, with its secret this once."""
        require_admin(request, self._token)
        form = await read_request_model(request, AdminCreateKeyRequest)
        limits = form.to_key_limits(self._service.catalog)
        if form.account is None:
            account = await self._create_account(form.name, form.plan, form.credit_usd)
        elif form.plan is not None or form.credit_usd is not None:
            raise InvalidRequest("`plan` and `credit_usd` are for new accounts", code="invalid_account")
        else:
            account = await self._store.resolve_account(form.account)
        key, secret = await self._accounts.create_key(account.id, form.name, limits)
        return web.json_response({**to_api_key_response(key), "key": secret}, status=201)

    @openapi_operation(body=KeyLimitsRequest, response=ApiKeyResponse)
    async def set_key_limits(self, request: web.Request) -> web.Response:
        """Other limits in the place of all that the key has."""
        require_admin(request, self._token)
        form = await read_request_model(request, KeyLimitsRequest)
        key = await self._store.get_key(request.match_info["id"])
        key = await self._store.set_key_limits(key.id, form.to_key_limits(self._service.catalog))
        return web.json_response(to_api_key_response(key))

    @openapi_operation(response=ApiKeyResponse, status=201)
    async def rotate_key(self, request: web.Request) -> web.Response:
        """Another key with the same limits; the old one ends at once."""
        require_admin(request, self._token)
        key, secret = await self._accounts.rotate_key(request.match_info["id"])
        return web.json_response({**to_api_key_response(key), "key": secret}, status=201)

    @openapi_operation(response=ApiKeyResponse)
    async def revoke_key(self, request: web.Request) -> web.Response:
        require_admin(request, self._token)
        return web.json_response(
            to_api_key_response(await self._store.revoke_key(request.match_info["id"], self._accounts.now()))
        )

    async def _create_account(self, name: str, plan: str | None, credit_usd: Usd | None) -> Account:
        account = await self._accounts.create_account(name, plan)
        if credit_usd is not None:
            await self._store.credit(
                account.id, usd_to_micros(credit_usd), "first credit", self._accounts.now()
            )
        return account


def to_account_response(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "plan": account.plan,
        "created_at": account.created_at.isoformat(),
    }
