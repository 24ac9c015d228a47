"""Callers with keys of their own, made through the admin API: quicker than a command for each."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import aiohttp

from tests.running import Service


def new_key(service: Service, credit: str | None = "5.00", **fields: object) -> str:
    """The secret of a key of a new account; `fields` as in `POST /admin/v1/keys`."""
    body = json.dumps({**({"credit_usd": credit} if credit else {}), **fields}).encode()
    headers = {"Authorization": f"Bearer {service.admin_token}", "Content-Type": "application/json"}
    with urlopen(Request(f"{service.url}/admin/v1/keys", body, headers), timeout=30) as response:
        return str(json.load(response)["key"])


def set_back(service: Service, job_id: str, by: timedelta) -> None:
    """Lets a finished job have come to its end that much earlier."""
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db, db:
        (text,) = db.execute("SELECT finished_at FROM jobs WHERE id = ?", (job_id,)).fetchone()
        earlier = (datetime.fromisoformat(text) - by).isoformat(timespec="microseconds")
        db.execute("UPDATE jobs SET finished_at = ? WHERE id = ?", (earlier, job_id))


async def until(http: aiohttp.ClientSession, path: str, *statuses: str) -> dict[str, Any]:
    """What is at a job's address, once it has one of these statuses."""
    async with asyncio.timeout(30):
        while True:
            async with http.get(path) as response:
                body: dict[str, Any] = await response.json()
            if body.get("status") in statuses:
                return body
            await asyncio.sleep(0.05)
