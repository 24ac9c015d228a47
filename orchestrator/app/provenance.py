"""Wire the marks of generated media: from settings to what signs them."""

from __future__ import annotations

import logging
from datetime import timedelta

from orchestrator.app.resources import utc_now
from orchestrator.media.marks.content_credentials import CredentialsError, CredentialSigner, read_pem
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.media.marks.signing_certificates import SigningCertificate, check_certificate
from orchestrator.settings import Settings, SettingsError

log = logging.getLogger(__name__)

#: How long before its end a certificate is reported at the start.
RENEWAL = timedelta(days=30)


def build_marker(settings: Settings) -> MediaMarker:
    """Return what marks results, and signs them if there is a certificate. Raises SettingsError."""
    signer = build_signer(settings)
    return MediaMarker(signer=signer, with_prompt=settings.c2pa_prompt, clock=utc_now)


def build_signer(settings: Settings) -> CredentialSigner | None:
    """Return the signer of the settings; None without a certificate. Raises SettingsError."""
    certificate, key = settings.c2pa_certificate, settings.c2pa_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("key", "certificate") if certificate is None else ("certificate", "key")
        raise SettingsError(
            f"PIXELFACTORY_C2PA_{given.upper()} also needs PIXELFACTORY_C2PA_{missing.upper()}"
        )
    try:
        chain, private = read_pem(certificate, "the certificate"), read_pem(key, "the key")
        found = check_certificate(chain, private, utc_now())
        signer = CredentialSigner(
            chain,
            private,
            found.algorithm,
            settings.c2pa_timestamp_url,
            expires_at=found.expires_at,
        )
    except CredentialsError as error:
        raise SettingsError(f"PIXELFACTORY_C2PA_CERTIFICATE, PIXELFACTORY_C2PA_KEY: {error}") from error
    _log_certificate(found)
    return signer


def _log_certificate(certificate: SigningCertificate) -> None:
    ends = f"{certificate.expires_at:%Y-%m-%d}"
    if certificate.expires_at - utc_now() < RENEWAL:
        log.warning(
            "results are signed by %s, which is valid until %s only: renew it, or no result can be signed",
            certificate.subject,
            ends,
        )
        return
    log.info("results are signed by %s, valid until %s", certificate.subject, ends)
