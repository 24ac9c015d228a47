"""Callers, with keys of their own (by the admin API: quicker than a command for each) and programs."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp

from tests.support.service import ServiceProcess


def new_key(service: ServiceProcess, credit: str | None = "5.00", **fields: object) -> str:
    """The secret of a key of a new account; `fields` as in `POST /admin/v1/keys`."""
    body = json.dumps({**({"credit_usd": credit} if credit else {}), **fields}).encode()
    headers = {"Authorization": f"Bearer {service.admin_token}", "Content-Type": "application/json"}
    with urlopen(Request(f"{service.url}/admin/v1/keys", body, headers), timeout=30) as response:
        return str(json.load(response)["key"])


def set_back(service: ServiceProcess, job_id: str, by: timedelta) -> None:
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


async def run_program(directory: Path, *command: str) -> str:
    """What a program prints that ends well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode() + out.decode()
    return out.decode()


async def arm(service: ServiceProcess, kind: str, count: int) -> None:
    """The next so many prompts on every simulated instance suffer a fault; 0 takes it back."""
    async with service.client(service.admin_token) as http:
        async with http.get("/admin/v1/instances") as response:
            rows = (await response.json())["instances"]
        for row in rows:
            fault = {"kind": kind, "count": count}
            async with http.post(f"{row['url']}/simulator/faults", json=fault) as response:
                assert response.status == 200, await response.text()
