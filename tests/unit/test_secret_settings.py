"""Secrets from the environment: an empty or short one stops the start, and no missing one equals it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.app.operator_secrets import load_admin_token, load_operator_secrets
from orchestrator.app.resources import open_store
from orchestrator.backup.location import SECRET_FILES
from orchestrator.files.secret_box import SecretUnreadable
from orchestrator.logs import hide_secrets_in
from orchestrator.secret_strength import MIN_SECRET_LENGTH
from orchestrator.settings import Settings, SettingsError
from orchestrator.web.auth import is_secret
from pricing.payments import PaymentError, sign_payment_webhook, verify_payment_webhook

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN_TOKEN, SESSION_SECRET, DATABASE_KEY = (
    f"{name}-of-the-settings" for name in ("token", "session", "key")
)


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "PAYMENT_SECRET", "SESSION_SECRET", "DATABASE_KEY"])
@pytest.mark.parametrize("value", ["", " ", "\t\n", "x" * (MIN_SECRET_LENGTH - 1), " " * MIN_SECRET_LENGTH])
def test_rejects_an_empty_or_short_secret(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PIXELFACTORY_{name}", value)
    with pytest.raises(
        SettingsError, match=f"PIXELFACTORY_{name}.*{MIN_SECRET_LENGTH} are needed"
    ) as refused:
        Settings.load()
    assert value.strip() == "" or value not in str(refused.value)


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "SESSION_SECRET", "DATABASE_KEY"])
@pytest.mark.parametrize("value", ["\u200b" * 40, "pässword-of-the-operator"])
def test_rejects_a_secret_that_no_header_can_carry(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PIXELFACTORY_{name}", value)
    with pytest.raises(SettingsError, match=rf"PIXELFACTORY_{name}.*printable ASCII"):
        Settings.load()


async def test_configured_secrets_replace_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Secret of Kubernetes arrives in the environment; the data directory needs no secret file."""
    monkeypatch.setenv("PIXELFACTORY_ADMIN_TOKEN", ADMIN_TOKEN)
    monkeypatch.setenv("PIXELFACTORY_SESSION_SECRET", SESSION_SECRET + "\n")
    monkeypatch.setenv("PIXELFACTORY_DATABASE_KEY", DATABASE_KEY)
    settings = Settings.load(data_dir=tmp_path)
    secrets = load_operator_secrets(settings)
    assert (secrets.admin_token, secrets.session_secret) == (ADMIN_TOKEN, SESSION_SECRET)
    async with open_store(settings) as store:
        account = await store.add_account("someone", "default", NOW)
        secrets_of_account = await store.get_or_create_signing_secrets(account.id, "whsec_text", NOW)
    assert not [name for name in SECRET_FILES if (tmp_path / name).exists()]
    monkeypatch.delenv("PIXELFACTORY_DATABASE_KEY")
    (tmp_path / "database-key").write_text(DATABASE_KEY)
    async with open_store(Settings.load(data_dir=tmp_path)) as store:
        assert await store.list_signing_secrets(account.id, NOW) == secrets_of_account == ["whsec_text"]


async def test_a_wrong_database_key_is_named(tmp_path: Path) -> None:
    settings = Settings.load(data_dir=tmp_path)
    async with open_store(settings) as store:
        account = await store.add_account("someone", "default", NOW)
        await store.get_or_create_signing_secrets(account.id, "whsec_text", NOW)
    other = settings.model_copy(update={"database_key": SecretStr(DATABASE_KEY)})
    with pytest.raises(SecretUnreadable, match="PIXELFACTORY_DATABASE_KEY is not the key") as refused:
        async with open_store(other):
            pass
    assert DATABASE_KEY not in str(refused.value)


def test_configured_secrets_are_hidden_in_the_log(tmp_path: Path) -> None:
    settings = Settings.load(
        data_dir=tmp_path, admin_token=ADMIN_TOKEN, session_secret=SESSION_SECRET, database_key=DATABASE_KEY
    )
    assert {ADMIN_TOKEN, SESSION_SECRET, DATABASE_KEY} <= set(settings.secret_values)
    load_operator_secrets(settings)
    for secret in (ADMIN_TOKEN, SESSION_SECRET):
        assert secret not in hide_secrets_in(f"a line with {secret}")
    for secret in (ADMIN_TOKEN, SESSION_SECRET, DATABASE_KEY):
        assert secret not in repr(settings)


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
