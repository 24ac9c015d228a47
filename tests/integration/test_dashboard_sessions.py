"""Session cookies: expiry, revocation, restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from orchestrator.billing.api_keys import api_key_prefix, generate_api_key, hash_api_key
from orchestrator.errors import NotAuthenticated
from orchestrator.store import ApiKeyLimits, ApiKeyScope
from orchestrator.store.sqlite import SqliteStore
from orchestrator.web.dashboard.sessions import SESSION_COOKIE, SESSION_LIFETIME, SessionManager

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class SessionsHarness:
    """A store with one API key, and a clock that tests can advance."""

    store: SqliteStore
    secret: str = field(default_factory=generate_api_key)
    now: datetime = BEGIN

    def sessions(self, *, secret: str = "s", admin_token: str = "t", secure: bool = False) -> SessionManager:
        return SessionManager(secret, admin_token, self.store, lambda: self.now, secure=secure)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[SessionsHarness]:
    harness = SessionsHarness(SqliteStore(tmp_path / "pixelfactory.db"))
    account = await harness.store.add_account("tester", "standard", BEGIN)
    limits = ApiKeyLimits(expires_at=BEGIN + timedelta(hours=1))
    secret = harness.secret
    await harness.store.add_key(
        account.id, hash_api_key(secret), api_key_prefix(secret), "key", BEGIN, limits=limits
    )
    yield harness
    await harness.store.close()


async def signed_in(sessions: SessionManager, credential: str) -> web.Request:
    """Return a request of a browser that has just signed in."""
    response = web.Response()
    sessions.set_session_cookie(response, await sessions.create_session(credential))
    return make_mocked_request(
        "GET", "/", headers={"Cookie": f"{SESSION_COOKIE}={response.cookies[SESSION_COOKIE].value}"}
    )


async def test_session_survives_a_restart(harness: SessionsHarness) -> None:
    request = await signed_in(harness.sessions(), harness.secret)
    assert (await harness.sessions().require_key(request, ApiKeyScope.GENERATE)).digest == hash_api_key(
        harness.secret
    )


@pytest.mark.parametrize("change", [{"secret": "other"}, {"admin_token": "other"}], ids=str)
async def test_new_secret_or_admin_token_ends_sessions(
    harness: SessionsHarness, change: dict[str, str]
) -> None:
    request = await signed_in(harness.sessions(), "t")
    with pytest.raises(NotAuthenticated):
        await harness.sessions(**change).read_session(request)  # type: ignore[arg-type]


async def test_session_expires_after_twelve_hours(harness: SessionsHarness) -> None:
    sessions = harness.sessions()
    request = await signed_in(sessions, "t")
    harness.now += SESSION_LIFETIME - timedelta(seconds=1)
    assert await sessions.resolve_key(request) is None
    harness.now += timedelta(seconds=1)
    with pytest.raises(NotAuthenticated):
        await sessions.read_session(request)


async def test_expiry_of_a_key_ends_its_session(harness: SessionsHarness) -> None:
    sessions = harness.sessions()
    request = await signed_in(sessions, harness.secret)
    harness.now += timedelta(hours=1)
    with pytest.raises(NotAuthenticated):
        await sessions.require_key(request, ApiKeyScope.READ)
    with pytest.raises(NotAuthenticated):
        await sessions.create_session(harness.secret)


async def test_revoking_a_session_keeps_the_others(harness: SessionsHarness) -> None:
    sessions = harness.sessions()
    one, other = await signed_in(sessions, "t"), await signed_in(sessions, "t")
    await sessions.revoke_session(await sessions.read_session(one))
    with pytest.raises(NotAuthenticated):
        await sessions.read_session(one)
    assert await sessions.resolve_key(other) is None


async def test_cookie_of_an_https_service_is_secure(harness: SessionsHarness) -> None:
    for secure in (True, False):
        sessions, response = harness.sessions(secure=secure), web.Response()
        sessions.set_session_cookie(response, await sessions.create_session("t"))
        assert bool(response.cookies[SESSION_COOKIE]["secure"]) is secure
