"""`/admin/v1/accounts` and `/admin/v1/keys`: accounts and API keys, for operators."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.billing.accounts import AccountService
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import InvalidRequest
from orchestrator.store import Account
from orchestrator.web.account.key_schemas import (
    ApiKeyResponse,
    CreateKeyRequest,
    KeyLimitsRequest,
    to_api_key_response,
)
from orchestrator.web.admin.schemas import AccountList, AccountResponse, ApiKeyList, to_account_response
from orchestrator.web.auth import require_admin
from orchestrator.web.http.request_model import (
    DisplayName,
    PositiveUsd,
    RequestModel,
    Usd,
    read_request_model,
    usd_to_micros,
)
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation
from orchestrator.web.protocols import AccountAdminStore

IdText = Annotated[str, Field(min_length=1, max_length=100)]
ACCOUNT_PARAM = ParameterSpec({"type": "string"}, "Return only keys of this account id.")


class CreateAccountRequest(RequestModel):
    """A new account."""

    name: DisplayName = Field("default", description="Name of the account.", examples=["Example Ltd."])
    plan: IdText | None = Field(
        None, description="Id of its plan; null: the default plan.", examples=["free"]
    )
    credit_usd: PositiveUsd | None = Field(None, description="Credit to start with.", examples=[25])


class ChangePlanRequest(RequestModel):
    """The new plan of an account."""

    plan: IdText = Field(description="Id of the plan.", examples=["pro"])


class AdminCreateKeyRequest(CreateKeyRequest):
    """A new API key for `account`, or for a new account on `plan` with `credit_usd`."""

    account: IdText | None = Field(
        None, description="Id of the account; null: create one.", examples=["acct_9b0a4f7c"]
    )
    plan: IdText | None = Field(None, description="Plan of the new account.")
    credit_usd: PositiveUsd | None = Field(None, description="Credit of the new account.")


class AccountAdminRoutes:
    """Routes of accounts and keys. All need the admin token."""

    def __init__(
        self, store: AccountAdminStore, accounts: AccountService, live_catalog: LiveCatalog, token: str
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._live_catalog = live_catalog
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

    @openapi_operation(summary="List accounts", description="Returns all accounts.", response=AccountList)
    async def list_accounts(self, request: web.Request) -> web.Response:
        """Return all accounts."""
        require_admin(request, self._token)
        accounts = await self._store.list_accounts()
        return json_response(AccountList(accounts=[to_account_response(account) for account in accounts]))

    @openapi_operation(
        summary="Create an account",
        description="Creates an account without API keys, optionally with credit.",
        body=CreateAccountRequest,
        response=AccountResponse,
        response_description="The created account.",
        status=201,
    )
    async def create_account(self, request: web.Request) -> web.Response:
        """Create an account."""
        require_admin(request, self._token)
        body = await read_request_model(request, CreateAccountRequest)
        account = await self._create_account(body.name, body.plan, body.credit_usd)
        return json_response(to_account_response(account), status=201)

    @openapi_operation(
        summary="Change an account's plan",
        description="Moves an account to another plan at once. Its billing month starts anew.",
        body=ChangePlanRequest,
        response=AccountResponse,
        response_description="The account on its new plan.",
    )
    async def change_plan(self, request: web.Request) -> web.Response:
        """Change the plan of an account."""
        require_admin(request, self._token)
        body = await read_request_model(request, ChangePlanRequest)
        account = await self._store.resolve_account(request.match_info["id"])
        return json_response(to_account_response(await self._accounts.change_plan(account.id, body.plan)))

    @openapi_operation(
        summary="List API keys",
        description="Returns all API keys without their secrets, revoked and expired ones included.",
        query={"account": ACCOUNT_PARAM},
        response=ApiKeyList,
    )
    async def list_keys(self, request: web.Request) -> web.Response:
        """Return the keys of one account or of all."""
        require_admin(request, self._token)
        keys = await self._store.list_keys(request.query.get("account"))
        return json_response(ApiKeyList(keys=[to_api_key_response(key) for key in keys]))

    @openapi_operation(
        summary="Create an API key",
        description="Creates a key for `account`, or for a new account on `plan` with `credit_usd`. The "
        "response is the only one that holds the secret.",
        body=AdminCreateKeyRequest,
        response=ApiKeyResponse,
        response_description="The created key with its secret.",
        status=201,
    )
    async def create_key(self, request: web.Request) -> web.Response:
        """Create a key, and an account if none is named."""
        require_admin(request, self._token)
        body = await read_request_model(request, AdminCreateKeyRequest)
        limits = body.to_key_limits(self._live_catalog.catalog)
        if body.account is None:
            account = await self._create_account(body.name, body.plan, body.credit_usd)
        elif body.plan is not None or body.credit_usd is not None:
            raise InvalidRequest(
                "`plan` and `credit_usd` are only allowed without `account`, for a new account",
                code="invalid_account",
                param="account",
            )
        else:
            account = await self._store.resolve_account(body.account)
        key, secret = await self._accounts.create_key(account.id, body.name, limits)
        return json_response(to_api_key_response(key, secret), status=201)

    @openapi_operation(
        summary="Set the limits of an API key",
        description="Replaces all limits of a key. Limits that are not given are removed.",
        body=KeyLimitsRequest,
        response=ApiKeyResponse,
        response_description="The key with its new limits.",
    )
    async def set_key_limits(self, request: web.Request) -> web.Response:
        """Replace the limits of a key."""
        require_admin(request, self._token)
        body = await read_request_model(request, KeyLimitsRequest)
        key = await self._store.get_key(request.match_info["id"])
        limits = body.to_key_limits(self._live_catalog.catalog)
        return json_response(to_api_key_response(await self._store.set_key_limits(key.id, limits)))

    @openapi_operation(
        summary="Rotate an API key",
        description="Creates a key with the same limits and revokes the old one at once.",
        response=ApiKeyResponse,
        response_description="The new key with its secret.",
        status=201,
    )
    async def rotate_key(self, request: web.Request) -> web.Response:
        """Replace a key by a new one."""
        require_admin(request, self._token)
        key, secret = await self._accounts.rotate_key(request.match_info["id"])
        return json_response(to_api_key_response(key, secret), status=201)

    @openapi_operation(
        summary="Revoke an API key",
        description="Revokes a key at once. Jobs that it created continue.",
        response=ApiKeyResponse,
        response_description="The revoked key.",
    )
    async def revoke_key(self, request: web.Request) -> web.Response:
        """Revoke a key."""
        require_admin(request, self._token)
        key = await self._store.revoke_key(request.match_info["id"], self._accounts.now())
        return json_response(to_api_key_response(key))

    async def _create_account(self, name: str, plan: str | None, credit_usd: Usd | None) -> Account:
        account = await self._accounts.create_account(name, plan)
        if credit_usd is not None:
            await self._store.credit(
                account.id, usd_to_micros(credit_usd), "first credit", self._accounts.now()
            )
        return account
