"""Check the certificate and key by which media are signed, and make ones for development."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.media.marks.content_credentials import CredentialsError

#: Purposes that C2PA accepts for signatures of claims: signing of C2PA claims, documents and e-mail.
CLAIM_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
_DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
_PURPOSES = frozenset({CLAIM_SIGNING, _DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION})
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_DEVELOPMENT_DAYS = 365


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """What a checked certificate says."""

    #: As C2PA names it, such as `es256`.
    algorithm: str
    subject: str
    expires_at: datetime


def check_certificate(chain: bytes, key: bytes, now: datetime) -> SigningCertificate:
    """Return what the first certificate of a chain says, if media can be signed with it and the key.

    Raises CredentialsError, which says what to change.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise CredentialsError(
            f"the certificate or the key cannot be read ({error}): both must be PEM, the key without password"
        ) from error
    first = certificates[0]
    if _public_bytes(private.public_key()) != _public_bytes(first.public_key()):
        raise CredentialsError(
            "the key does not belong to the first certificate of the file; the signer's own must come first"
        )
    if first.issuer == first.subject:
        raise CredentialsError(
            "the certificate is signed by itself, which C2PA does not accept; use one that an authority has"
            " signed, or `pixelfactory provenance make-certificate` for development"
        )
    if not first.not_valid_before_utc <= now < first.not_valid_after_utc:
        raise CredentialsError(
            f"the certificate is valid from {first.not_valid_before_utc:%Y-%m-%d} to"
            f" {first.not_valid_after_utc:%Y-%m-%d} only; renew it"
        )
    if not _PURPOSES & set(_purposes(first)):
        raise CredentialsError(
            "the certificate is not for signing claims: its extended key usage must have C2PA claim signing"
            f" ({CLAIM_SIGNING.dotted_string}), document signing or e-mail protection"
        )
    return SigningCertificate(_algorithm(private), first.subject.rfc4514_string(), first.not_valid_after_utc)


def _purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise CredentialsError(
        "the key must be of EC (P-256, P-384, P-521), Ed25519, or RSA with 2048 bits or more"
    )


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@dataclass(frozen=True, slots=True)
class DevelopmentCertificate:
    """PEM texts: an authority of its own, the chain of a signer, and the signer's key."""

    authority: bytes
    chain: bytes
    key: bytes


def make_development_certificate(organization: str, now: datetime) -> DevelopmentCertificate:
    """Return a certificate that only verifiers trust to which the authority is given.

    The key of the authority is forgotten, so that it never signs another certificate.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(organization, "Development authority of Content Credentials")
    authority = (
        _builder(authority_name, authority_name, authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    signer = (
        _builder(_name(organization, "Development signer of Content Credentials"), authority_name, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    root = authority.public_bytes(pem)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return DevelopmentCertificate(root, signer.public_bytes(pem) + root, private)


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of other machines may be behind.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DEVELOPMENT_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
