"""Callers with keys of their own, made by the admin API (faster than a command each), and programs."""

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

from tests.support.polling import poll
from tests.support.service import ServiceProcess


def new_key(service: ServiceProcess, credit: str | None = "5.00", **fields: object) -> str:
    """The secret of a key of a new account; `fields` as in `POST /admin/v1/keys`."""
    body = json.dumps({**({"credit_usd": credit} if credit else {}), **fields}).encode()
    headers = {"Authorization": f"Bearer {service.admin_token}", "Content-Type": "application/json"}
    with urlopen(Request(f"{service.url}/admin/v1/keys", body, headers), timeout=30) as response:
        return str(json.load(response)["key"])


def set_back(service: ServiceProcess, job_id: str, by: timedelta) -> None:
    """Move the end of a finished job into the past."""
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db, db:
        (text,) = db.execute("SELECT finished_at FROM jobs WHERE id = ?", (job_id,)).fetchone()
        earlier = (datetime.fromisoformat(text) - by).isoformat(timespec="microseconds")
        db.execute("UPDATE jobs SET finished_at = ? WHERE id = ?", (earlier, job_id))


async def wait_for_status(http: aiohttp.ClientSession, path: str, *statuses: str) -> dict[str, Any]:
    """Wait until the job at `path`, in whichever dialect, has one of these statuses."""

    async def read() -> dict[str, Any]:
        async with http.get(path) as response:
            return dict(await response.json())

    return await poll(read, lambda body: body.get("status") in statuses)


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
