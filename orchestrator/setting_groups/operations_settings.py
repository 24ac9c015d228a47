"""Settings about what operators see; a part of `Settings`."""

from __future__ import annotations

from pydantic import Field

from orchestrator.setting_groups.provenance_settings import LegalSettings


class OperationsSettings(LegalSettings):
    """How long and how often the service looks after itself."""

    event_days: float = Field(
        400,
        gt=0,
        description="How long the log of changes by operators is kept, in days (`GET /admin/v1/events`).",
    )
    audit_hours: float = Field(
        6,
        gt=0,
        description="Interval at which the ledger is audited; the metric `pixelfactory_ledger_violations` and"
        " an alert say what was found.",
    )
