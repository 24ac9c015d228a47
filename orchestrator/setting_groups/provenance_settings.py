"""The settings about marks of generated media; a part of `Settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from orchestrator.setting_groups.license_settings import LicenseSettings


class ProvenanceSettings(BaseSettings):
    """By which certificate results are signed. The mark that they are generated needs no setting."""

    c2pa_certificate: Path | None = Field(
        None,
        description="Certificate by which results are signed (C2PA, Content Credentials), with those of its"
        " authorities: a PEM file that begins with the signer's. Needs c2pa_key and the extra `c2pa`.",
    )
    c2pa_key: Path | None = Field(
        None,
        description="Private key of c2pa_certificate: a PEM file without a password. Never on instances.",
    )
    c2pa_timestamp_url: str | None = Field(
        None,
        description="URL of a time stamp authority (RFC 3161), which confirms when results were signed;"
        " without it signatures count as long as the certificate is valid.",
    )
    c2pa_prompt: bool = Field(False, description="Whether manifests hold the prompt.")


class LegalSettings(LicenseSettings, ProvenanceSettings):
    """What the law and the licenses ask of operators."""
