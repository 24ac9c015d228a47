"""Bodies about API keys: limits in requests, and keys without their secret in responses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from orchestrator.billing.api_keys import mask_api_key
from orchestrator.billing.values import DEFAULT_SCOPES
from orchestrator.catalog import Catalog
from orchestrator.store import ApiKey, ApiKeyLimits, ApiKeyScope
from orchestrator.web.http.request_model import DisplayName, RequestModel, Usd, usd_to_micros
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from pricing.money import to_usd

#: Earlier times can not be converted to UTC on every platform.
EARLIEST_EXPIRY = datetime(1970, 1, 1, tzinfo=UTC)


class KeyLimitsRequest(RequestModel):
    """Limits of an API key. Fields that are not given do not limit it."""

    scopes: Annotated[frozenset[ApiKeyScope], Field(min_length=1)] = Field(
        DEFAULT_SCOPES,
        description="What the key may do: `generate` (submit and cancel jobs), `read` (get jobs and "
        "results), "
        "`billing` (balance, usage, alerts, webhooks), `publish` (publish models; only operators give it).",
        examples=[["generate", "read"]],
    )
    models: Annotated[frozenset[str], Field(min_length=1)] | None = Field(
        None,
        description="Ids of the only models that the key may use; null: all.",
        examples=[["flux-1-schnell"]],
    )
    expires_at: Annotated[AwareDatetime, Field(ge=EARLIEST_EXPIRY)] | None = Field(
        None, description="When the key stops working; null: never.", examples=["2027-01-31T00:00:00Z"]
    )
    daily_cap_usd: Usd | None = Field(
        None, description="Most that the key may spend per day (UTC); null: no cap.", examples=[5]
    )
    monthly_cap_usd: Usd | None = Field(
        None,
        description="Most that the key may spend per calendar month (UTC); null: no cap.",
        examples=[100],
    )

    def to_key_limits(self, catalog: Catalog) -> ApiKeyLimits:
        """Return the limits with model ids in place of aliases. Raises InvalidRequest for unknown models."""
        return ApiKeyLimits(
            scopes=self.scopes,
            models=None
            if self.models is None
            else frozenset(model.id for name in self.models for model in catalog.models_of(name)),
            expires_at=self.expires_at and self.expires_at.astimezone(UTC),
            day_cap=None if self.daily_cap_usd is None else usd_to_micros(self.daily_cap_usd),
            month_cap=None if self.monthly_cap_usd is None else usd_to_micros(self.monthly_cap_usd),
        )


class CreateKeyRequest(KeyLimitsRequest):
    """A new API key."""

    name: DisplayName = Field("default", description="Name of the key, for its owner.", examples=["backend"])


class ApiKeyResponse(ResponseModel):
    """An API key. Its secret is returned only when it is created or rotated."""

    id: str = Field(description="Id of the key.", examples=["key_5d1f0c8b"])
    key: str | None = Field(
        None, description="The secret; only in the response that creates it.", examples=["pk-..."]
    )
    prefix: str = Field(description="First characters of the secret.", examples=["pk-3f2a..."])
    name: str = Field(description="Name of the key.", examples=["backend"])
    account: str = Field(description="Id of its account.", examples=["acct_9b0a4f7c"])
    plan: str = Field(description="Id of the account's plan.", examples=["free"])
    scopes: list[ApiKeyScope] = Field(description="What the key may do.")
    models: list[str] | None = Field(
        description="Ids of the only models it may use; null: all.", examples=[None]
    )
    expires_at: IsoDatetime | None = Field(description="When it stops working; null: never.", examples=[None])
    daily_cap_usd: float | None = Field(description="Cap per day (UTC); null: none.", examples=[5.0])
    monthly_cap_usd: float | None = Field(
        description="Cap per calendar month (UTC); null: none.", examples=[100.0]
    )
    created_at: IsoDatetime = Field(description="When it was created.")
    revoked_at: IsoDatetime | None = Field(
        description="When it was revoked; null: it is not.", examples=[None]
    )


def to_api_key_response(key: ApiKey, secret: str | None = None) -> ApiKeyResponse:
    """Return a key, with its secret if that has just been created."""
    limits = key.limits
    response = ApiKeyResponse(
        id=key.id,
        prefix=mask_api_key(key.prefix),
        name=key.name,
        account=key.account.id,
        plan=key.account.plan,
        scopes=sorted(limits.scopes),
        models=None if limits.models is None else sorted(limits.models),
        expires_at=limits.expires_at,
        daily_cap_usd=None if limits.day_cap is None else to_usd(limits.day_cap),
        monthly_cap_usd=None if limits.month_cap is None else to_usd(limits.month_cap),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
    return response if secret is None else response.model_copy(update={"key": secret})
