"""Sessions over time and restarts."""

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
from orchestrator.store import ApiKeyLimits, ApiKeyScope, SqliteStore
from orchestrator.web.dashboard.sessions import SESSION_COOKIE, SESSION_LIFETIME, SessionManager

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class SessionsHarness:
    """A store with one key, and a clock to turn."""

    store: SqliteStore
    secret: str = field(default_factory=generate_api_key)
    now: datetime = BEGIN

    def sessions(self, *, secret: str = "s", admin_token: str = "t", secure: bool = False) -> SessionManager:
        return SessionManager(secret, admin_token, self.store, lambda: self.now, secure=secure)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SessionsHarness]:
    world = SessionsHarness(SqliteStore(tmp_path / "pixelfactory.db"))
    account = await world.store.add_account("tester", "standard", BEGIN)
    limits = ApiKeyLimits(expires_at=BEGIN + timedelta(hours=1))
    secret = world.secret
    await world.store.add_key(
        account.id, hash_api_key(secret), api_key_prefix(secret), "key", BEGIN, limits=limits
    )
    yield world
    await world.store.close()


async def signed_in(sessions: SessionManager, credential: str) -> web.Request:
    """A request of a browser that has just signed in."""
    response = web.Response()
    sessions.set_session_cookie(response, await sessions.create_session(credential))
    return make_mocked_request(
        "GET", "/", headers={"Cookie": f"{SESSION_COOKIE}={response.cookies[SESSION_COOKIE].value}"}
    )


async def test_a_session_survives_a_restart(world: SessionsHarness) -> None:
    request = await signed_in(world.sessions(), world.secret)
    assert (await world.sessions().require_key(request, ApiKeyScope.GENERATE)).digest == hash_api_key(
        world.secret
    )


@pytest.mark.parametrize("change", [{"secret": "other"}, {"admin_token": "other"}], ids=str)
async def test_a_session_ends_with_the_secrets_it_was_signed_with(
    world: SessionsHarness, change: dict[str, str]
) -> None:
    request = await signed_in(world.sessions(), "t")
    with pytest.raises(NotAuthenticated):
        world.sessions(**change).read_session(request)  # type: ignore[arg-type]


async def test_a_session_lasts_half_a_day(world: SessionsHarness) -> None:
    sessions = world.sessions()
    request = await signed_in(sessions, "t")
    world.now += SESSION_LIFETIME - timedelta(seconds=1)
    assert await sessions.resolve_key(request) is None
    world.now += timedelta(seconds=1)
    with pytest.raises(NotAuthenticated):
        sessions.read_session(request)


async def test_a_key_that_expires_ends_its_session(world: SessionsHarness) -> None:
    sessions = world.sessions()
    request = await signed_in(sessions, world.secret)
    world.now += timedelta(hours=1)
    with pytest.raises(NotAuthenticated):
        await sessions.require_key(request, ApiKeyScope.READ)
    with pytest.raises(NotAuthenticated):
        await sessions.create_session(world.secret)


async def test_an_ended_session_ends_no_other(world: SessionsHarness) -> None:
    sessions = world.sessions()
    one, other = await signed_in(sessions, "t"), await signed_in(sessions, "t")
    sessions.revoke_session(sessions.read_session(one))
    with pytest.raises(NotAuthenticated):
        sessions.read_session(one)
    assert await sessions.resolve_key(other) is None


async def test_the_cookie_of_an_https_service_goes_by_https_only(world: SessionsHarness) -> None:
    for secure in (True, False):
        sessions, response = world.sessions(secure=secure), web.Response()
        sessions.set_session_cookie(response, await sessions.create_session("t"))
        assert bool(response.cookies[SESSION_COOKIE]["secure"]) is secure
