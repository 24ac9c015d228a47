"""Who uses the dashboard in these tests."""

from __future__ import annotations

from typing import Any

import httpx
from playwright.sync_api import Page

from tests.support.service import ServiceProcess


def admin(service: ServiceProcess, path: str, **fields: Any) -> Any:
    """What the admin API answers to a POST."""
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    response = httpx.post(f"{service.url}/admin/v1/{path}", json=fields, headers=headers)
    return response.raise_for_status().json()


def new_key(service: ServiceProcess, usd: str) -> Any:
    """The key of a new account with so much money: `id`, `key`, ..."""
    return admin(service, "keys", name="tester", credit_usd=usd)


def sign_in(page: Page, credential: str) -> None:
    page.goto("/")
    page.get_by_label("API key or admin token").fill(credential)
    page.get_by_role("button", name="Sign in").click()
