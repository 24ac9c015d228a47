"""What is said of API keys: the terms on which one is made or limited, and what is shown of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from orchestrator.billing.api_keys import mask_api_key
from orchestrator.catalog import Catalog
from orchestrator.store import ApiKey, ApiKeyLimits, ApiKeyScope
from orchestrator.web.http.request_model import DisplayName, RequestModel, Usd, usd_to_micros
from pricing.money import to_usd

#: Times before it can not be told in UTC everywhere.
EARLIEST_EXPIRY = datetime(1970, 1, 1, tzinfo=UTC)


class KeyLimitsRequest(RequestModel):
    """What a key may do; whatever is not given is not limited."""

    scopes: Annotated[frozenset[ApiKeyScope], Field(min_length=1)] = frozenset(ApiKeyScope)
    models: Annotated[frozenset[str], Field(min_length=1)] | None = None
    expires_at: Annotated[AwareDatetime, Field(ge=EARLIEST_EXPIRY)] | None = None
    daily_cap_usd: Usd | None = None
    monthly_cap_usd: Usd | None = None

    def to_key_limits(self, catalog: Catalog) -> ApiKeyLimits:
        """Raises InvalidRequest for unknown models."""
        return ApiKeyLimits(
            scopes=self.scopes,
            models=None if self.models is None else frozenset(catalog[name].id for name in self.models),
            expires_at=self.expires_at and self.expires_at.astimezone(UTC),
            day_cap=None if self.daily_cap_usd is None else usd_to_micros(self.daily_cap_usd),
            month_cap=None if self.monthly_cap_usd is None else usd_to_micros(self.monthly_cap_usd),
        )


class CreateKeyRequest(KeyLimitsRequest):
    """The terms of a new key."""

    name: DisplayName = "default"


def to_api_key_response(key: ApiKey) -> dict[str, object]:
    """A key without its secret."""
    limits = key.limits
    return {
        "id": key.id,
        "prefix": mask_api_key(key.prefix),
        "name": key.name,
        "account": key.account.id,
        "plan": key.account.plan,
        "scopes": sorted(limits.scopes),
        "models": None if limits.models is None else sorted(limits.models),
        "expires_at": limits.expires_at.isoformat() if limits.expires_at else None,
        "daily_cap_usd": None if limits.day_cap is None else to_usd(limits.day_cap),
        "monthly_cap_usd": None if limits.month_cap is None else to_usd(limits.month_cap),
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
