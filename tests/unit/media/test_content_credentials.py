"""Signed manifests: what they say, that they break with any change, and which certificates are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from orchestrator.app.provenance import build_marker
from orchestrator.cli.main import build_app
from orchestrator.media.marks.content_credentials import (
    SIGNED_TYPES,
    CredentialsError,
    CredentialSigner,
    MediaInput,
    MediaOrigin,
    read_credentials,
)
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.media.marks.signing_certificates import check_certificate, make_development_certificate
from orchestrator.media.marks.source_marks import SourceType, read_source
from orchestrator.settings import Settings, SettingsError
from tests.support.media_files import MEDIA, decoded

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

NOW = datetime.now(UTC)
MADE = make_development_certificate("Test", NOW)
ORIGIN = MediaOrigin(model="z-image-turbo", version="0123456789ab", prompt="a secret fox")
SIGNABLE = [name for name, make in MEDIA.items() if make()[0] in SIGNED_TYPES]


@pytest.fixture(scope="module")
def marker() -> MediaMarker:
    return MediaMarker(signer=CredentialSigner(MADE.chain, MADE.key, "es256"), clock=lambda: NOW)


@pytest.mark.parametrize("name", SIGNABLE)
def test_a_signed_medium_says_what_made_it_and_shows_the_same(marker: MediaMarker, name: str) -> None:
    content_type, data = MEDIA[name]()
    signed = marker.mark(data, content_type, ORIGIN)
    found = read_credentials(signed, content_type, MADE.authority)
    assert found is not None
    assert (found.state, found.problems) == ("trusted", [])
    assert (found.model, found.model_version) == ("z-image-turbo", "0123456789ab")
    assert found.source == read_source(signed, content_type) == SourceType.GENERATED
    assert found.created_at is not None
    assert datetime.fromisoformat(found.created_at) == NOW.replace(microsecond=0)
    assert found.prompt is None
    assert b"secret fox" not in signed
    assert decoded(signed, content_type) == decoded(data, content_type)


@pytest.mark.parametrize("name", SIGNABLE)
def test_a_changed_medium_is_not_valid(marker: MediaMarker, name: str) -> None:
    content_type, data = MEDIA[name]()
    signed = bytearray(marker.mark(data, content_type, ORIGIN))
    middle = len(data) // 2
    signed[signed.rindex(data[middle : middle + 12])] ^= 1
    found = read_credentials(bytes(signed), content_type)
    assert found is not None
    assert found.state == "invalid"
    assert any("mismatch" in problem for problem in found.problems)


def test_a_signer_that_is_not_known_is_valid_and_not_trusted(marker: MediaMarker) -> None:
    content_type, data = MEDIA["png"]()
    signed = marker.mark(data, content_type, ORIGIN)
    other = make_development_certificate("Other", NOW).authority
    for anchors in (None, other):
        found = read_credentials(signed, content_type, anchors)
        assert found is not None
        assert (found.state, found.problems) == ("valid", ["signingCredential.untrusted"])


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "mp4", "flac", "mp3"])
def test_signing_again_replaces_the_manifest(marker: MediaMarker, name: str) -> None:
    content_type, data = MEDIA[name]()
    once = marker.mark(data, content_type, ORIGIN)
    twice = marker.mark(once, content_type, MediaOrigin(model="another", source=SourceType.COMPOSITE))
    found = read_credentials(twice, content_type, MADE.authority)
    assert found is not None
    assert (found.state, found.model) == ("trusted", "another")
    assert abs(len(twice) - len(once)) < 200


def test_the_prompt_is_written_only_where_the_operator_wants_it(marker: MediaMarker) -> None:
    content_type, data = MEDIA["jpeg"]()
    telling = MediaMarker(signer=marker.signer, with_prompt=True, clock=lambda: NOW)
    found = read_credentials(telling.mark(data, content_type, ORIGIN), content_type)
    assert found is not None
    assert found.prompt == "a secret fox"


@pytest.mark.parametrize("with_prompt", [False, True])
def test_names_what_a_medium_was_made_from(marker: MediaMarker, with_prompt: bool) -> None:
    content_type, data = MEDIA["png"]()
    inputs = (
        MediaInput("image", "image/jpeg"),
        MediaInput("video", "video/x-matroska"),
        MediaInput("x", None),
    )
    marker = replace(marker, with_prompt=with_prompt)
    signed = marker.mark(data, content_type, replace(ORIGIN, inputs=inputs))
    found = read_credentials(signed, content_type, MADE.authority)
    assert found is not None
    assert (found.state, found.problems) == ("trusted", [])
    assert list(found.inputs) == ["image", "video", "x"]
    assert (found.model, found.prompt) == ("z-image-turbo", ORIGIN.prompt if with_prompt else None)


def test_without_a_certificate_the_mark_is_written_and_no_manifest() -> None:
    content_type, data = MEDIA["png"]()
    marked = MediaMarker().mark(data, content_type, ORIGIN)
    assert read_source(marked, content_type) == SourceType.GENERATED
    assert read_credentials(marked, content_type) is None


def test_what_the_service_must_mark_itself(marker: MediaMarker) -> None:
    """Instances mark images; what is signed, and what they do not mark, passes through the service."""
    unsigned = MediaMarker()
    assert not unsigned.must_mark("image/png")
    assert unsigned.must_mark("video/mp4")
    assert marker.must_mark("image/png")
    for one in (unsigned, marker):
        assert one.must_mark("video/webm")
        assert not one.must_mark("model/gltf-binary")
        assert not one.must_mark("application/octet-stream")


def issue(
    key: CertificateIssuerPrivateKeyTypes,
    *,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    issuer: str = "authority",
) -> bytes:
    """A certificate that is signed with its own key; only its names and times are looked at."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder(
        issuer_name=name(issuer),
        subject_name=name("signer"),
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=NOW + begins,
        not_valid_after=NOW + ends,
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    encoding, format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format, serialization.NoEncryption())


def test_refuses_certificates_that_nobody_would_accept() -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    cases = {
        "does not belong": (issue(key), pem(other)),
        "signed by itself": (issue(key, issuer="signer"), pem(key)),
        "valid from": (issue(key, ends=timedelta(hours=-1)), pem(key)),
        "renew it": (issue(key, begins=timedelta(hours=1)), pem(key)),
        "extended key usage": (issue(key, purpose=ExtendedKeyUsageOID.SERVER_AUTH), pem(key)),
        "not for signing": (issue(key, purpose=None), pem(key)),
        "cannot be read": (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", pem(key)),
        "without password": (
            issue(key),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            ),
        ),
        "must be of EC": (
            issue(small := ec.generate_private_key(ec.SECP256K1())),
            pem(small),
        ),
    }
    for message, (chain, private) in cases.items():
        with pytest.raises(CredentialsError, match=message):
            check_certificate(chain, private, NOW)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ec.generate_private_key(ec.SECP521R1()), "es512"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
    ],
    ids=["P-384", "P-521", "Ed25519", "RSA"],
)
def test_finds_the_algorithm_of_a_key(key: CertificateIssuerPrivateKeyTypes, algorithm: str) -> None:
    assert check_certificate(issue(key), pem(key), NOW).algorithm == algorithm


def files(folder: Path) -> dict[str, Path]:
    (folder / "certificate.pem").write_bytes(MADE.chain)
    (folder / "key.pem").write_bytes(MADE.key)
    return {"c2pa_certificate": folder / "certificate.pem", "c2pa_key": folder / "key.pem"}


def test_settings_that_cannot_work_are_named_at_the_start(tmp_path: Path) -> None:
    found = files(tmp_path)
    assert build_marker(Settings.load(**found)).signer is not None
    assert build_marker(Settings.load()).signer is None
    for given, message in (
        ({"c2pa_key": found["c2pa_key"]}, "PIXELFACTORY_C2PA_CERTIFICATE"),
        ({"c2pa_certificate": found["c2pa_certificate"]}, "PIXELFACTORY_C2PA_KEY"),
        ({**found, "c2pa_key": tmp_path / "missing.pem"}, "cannot be read"),
        ({**found, "c2pa_key": tmp_path}, "cannot be read"),
        ({**found, "c2pa_key": found["c2pa_certificate"]}, "cannot be read"),
    ):
        with pytest.raises(SettingsError, match=message):
            build_marker(Settings.load(**given))


def test_signs_without_a_time_stamp_where_the_authority_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signer = CredentialSigner(MADE.chain, MADE.key, "es256", "http://127.0.0.1:9/stamp")
    content_type, data = MEDIA["png"]()
    found = read_credentials(signer.sign(data, content_type, ORIGIN, NOW), content_type, MADE.authority)
    assert found is not None
    assert (found.state, found.signed_at) == ("trusted", None)
    assert "without a time stamp" in caplog.text


class TestCommands:
    """`pixelfactory provenance`."""

    app = build_app(["provenance"])

    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(self.app, ["provenance", *arguments])
        return result.exit_code, result.output + str(result.exception or "")

    def test_makes_a_certificate_that_works(self, tmp_path: Path) -> None:
        folder = tmp_path / "new"
        code, output = self.run("make-certificate", "--out", str(folder), "--organization", "Factory Inc.")
        assert code == 0, output
        assert (folder / "key.pem").stat().st_mode & 0o077 == 0
        settings = Settings.load(c2pa_certificate=folder / "certificate.pem", c2pa_key=folder / "key.pem")
        content_type, data = MEDIA["png"]()
        file = tmp_path / "signed.png"
        file.write_bytes(build_marker(settings).mark(data, content_type, ORIGIN))
        code, output = self.run("verify", str(file), "--trust", str(folder / "authority.pem"), "--json")
        assert code == 0, output
        shown = json.loads(output)
        assert (shown["manifest"], shown["signer"]) == ("trusted", "Factory Inc.")
        assert shown["model"] == "z-image-turbo"
        code, output = self.run("make-certificate", "--out", str(folder))
        assert code == 1
        assert "exists already" in output

    def test_says_what_a_file_is(self, tmp_path: Path, marker: MediaMarker) -> None:
        content_type, data = MEDIA["mp4"]()
        signed = marker.mark(data, content_type, ORIGIN)
        cases = {
            "plain": (data, 1, "manifest             none"),
            "marked": (MediaMarker().mark(data, content_type, ORIGIN), 0, "trainedAlgorithmicMedia"),
            "signed": (signed, 0, "valid"),
            "changed": (signed.replace(data[800:810], b"0123456789"), 1, "invalid"),
            "text": (b"hello", 1, "not of a supported output format"),
        }
        for name, (content, expected, text) in cases.items():
            file = tmp_path / f"{name}.mp4"
            file.write_bytes(content)
            code, output = self.run("verify", str(file))
            assert (code, text in output) == (expected, True), (name, output)

    def test_trusts_only_the_given_authorities(self, tmp_path: Path, marker: MediaMarker) -> None:
        content_type, data = MEDIA["webp"]()
        file, own, other = (tmp_path / name for name in ("signed.webp", "own.pem", "other.pem"))
        file.write_bytes(marker.mark(data, content_type, ORIGIN))
        own.write_bytes(MADE.authority)
        other.write_bytes(make_development_certificate("Other", NOW).authority)
        assert self.run("verify", str(file), "--trust", str(own))[0] == 0
        assert self.run("verify", str(file), "--trust", str(other))[0] == 1
