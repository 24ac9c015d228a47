"""The setting about licenses of models; a part of `Settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

LicenseMode = Literal["warn", "strict"]


class LicenseSettings(BaseSettings):
    """What becomes of requests for models whose license does not allow to sell their results."""

    licenses: LicenseMode = Field(
        "warn",
        description="Models that may not be sold without a license of their owner: `warn` names them at the"
        " start and on the operations page, `strict` rejects requests that would be charged until"
        " `pixelfactory licenses accept` has recorded that you have one.",
    )
