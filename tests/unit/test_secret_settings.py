"""Secrets from the environment: an empty or short one stops the start, and no missing one equals it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.app.resources import load_admin_token
from orchestrator.secret_strength import MIN_SECRET_LENGTH
from orchestrator.settings import Settings, SettingsError
from orchestrator.web.auth import is_secret
from pricing.payments import PaymentError, sign_payment_webhook, verify_payment_webhook


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "PAYMENT_SECRET"])
@pytest.mark.parametrize("value", ["", " ", "\t\n", "x" * (MIN_SECRET_LENGTH - 1), " " * MIN_SECRET_LENGTH])
def test_rejects_an_empty_or_short_secret(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PIXELFACTORY_{name}", value)
    with pytest.raises(
        SettingsError, match=f"PIXELFACTORY_{name}.*{MIN_SECRET_LENGTH} are needed"
    ) as refused:
        Settings.load()
    assert value.strip() == "" or value not in str(refused.value)


@pytest.mark.parametrize("value", ["\u200b" * 40, "pässword-of-the-operator"])
def test_rejects_a_secret_that_no_header_can_carry(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELFACTORY_ADMIN_TOKEN", value)
    with pytest.raises(SettingsError, match=r"PIXELFACTORY_ADMIN_TOKEN.*printable ASCII"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "1_0000"), ("SIMULATOR_TIME_SCALE", "1_0"), ("DRAIN_SECONDS", "1e1"), ("MAX_ATTEMPTS", " 3")],
)
def test_rejects_numbers_that_are_not_plain_digits(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PIXELFACTORY_{name}", value)
    with pytest.raises(SettingsError, match=f"PIXELFACTORY_{name}.*plain digits"):
        Settings.load()


@pytest.mark.parametrize("name", ["MODERATION_KEY", "S3_ACCESS_KEY", "S3_SECRET_KEY"])
def test_rejects_an_empty_secret_of_another_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PIXELFACTORY_{name}", " ")
    with pytest.raises(SettingsError, match=f"PIXELFACTORY_{name}.*empty"):
        Settings.load()


def test_reads_a_long_secret_without_the_line_end_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELFACTORY_ADMIN_TOKEN", "a-long-enough-token\n")
    assert load_admin_token(Settings.load(data_dir=tmp_path)) == "a-long-enough-token"


@pytest.mark.parametrize("given", [None, "", "x", "secret ", "SECRET"])
@pytest.mark.parametrize("expected", ["", "secret"])
def test_missing_empty_and_wrong_secrets_are_never_equal(given: str | None, expected: str) -> None:
    assert not is_secret(given, expected)


def test_accepts_the_expected_secret() -> None:
    assert is_secret("sécret", "sécret")
    assert not is_secret("s\udcffcret", "secret")


def test_no_signature_is_valid_for_an_empty_payment_secret() -> None:
    now = datetime.now(UTC)
    with pytest.raises(PaymentError, match="no secret"):
        verify_payment_webhook(b"{}", sign_payment_webhook(b"{}", "", now), "", now)
