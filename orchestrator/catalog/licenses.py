"""What the licenses of models allow: of the model itself, and of each weight file that it uses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from orchestrator.catalog.manifest import ModelManifest

#: The license of a model that names none.
NOT_STATED = "not stated"
TERMS_FILE = Path(__file__).with_name("licenses.toml")


class LicenseUse(StrEnum):
    """What a license allows an operator who sells results, from the most to the least."""

    COMMERCIAL = "commercial"
    CONDITIONS = "conditions"
    UNKNOWN = "unknown"
    NON_COMMERCIAL = "non-commercial"


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenseTerms:
    """The terms of one license."""

    name: str
    use: LicenseUse
    summary: str
    #: Revenue per year up to which commercial use is allowed; None for no limit.
    revenue_limit_usd: int | None = None
    #: What must be shown with results; empty for nothing.
    attribution: str = ""


@cache
def known_terms() -> dict[str, LicenseTerms]:
    """Return the terms of the licenses that are known, by name."""
    rows = tomllib.loads(TERMS_FILE.read_text("utf-8"))
    return {
        name: LicenseTerms(
            name=name,
            use=LicenseUse(row["use"]),
            summary=row["summary"],
            revenue_limit_usd=row.get("revenue_limit_usd"),
            attribution=row.get("attribution", ""),
        )
        for name, row in rows.items()
    }


def terms_of(name: str) -> LicenseTerms:
    """Return the terms of a license; use is unknown for one that is not in the table."""
    unknown = LicenseTerms(
        name=name, use=LicenseUse.UNKNOWN, summary="not known to this service: read its text"
    )
    return known_terms().get(name, unknown)


def licenses_of(manifest: ModelManifest) -> list[LicenseTerms]:
    """Return the terms of a model's license, and of the licenses of its weight files."""
    names = [manifest.license or NOT_STATED, *(weight.license for weight in manifest.weights)]
    return [terms_of(name) for name in dict.fromkeys(names) if name]


def strictest_use(manifest: ModelManifest) -> LicenseUse:
    """Return what all licenses of a model allow together."""
    order = list(LicenseUse)
    return max((terms.use for terms in licenses_of(manifest)), key=order.index)


def forbidding_licenses(manifest: ModelManifest) -> list[str]:
    """Return the licenses of a model that do not allow to sell its results, or are not known to."""
    needs_word = (LicenseUse.UNKNOWN, LicenseUse.NON_COMMERCIAL)
    return [terms.name for terms in licenses_of(manifest) if terms.use in needs_word]
