"""A job's events in a browser's own EventSource, which comes back by itself and stops when it is told to."""

from __future__ import annotations

import httpx
from playwright.sync_api import BrowserContext, Page

from tests.support.browser import new_key
from tests.support.service import ServiceProcess

#: Follows a job until its source gives up, and tells what came.
FOLLOW = """
    id => new Promise(done => {
        const source = new EventSource(`/api/v1/jobs/${id}/events`);
        const heard = [];
        for (const name of ["job", "queue", "started", "progress", "preview"]) {
            source.addEventListener(name, event => {
                heard.push([name, +event.lastEventId, JSON.parse(event.data)]);
            });
        }
        source.onerror = () => source.readyState === EventSource.CLOSED && done(heard);
    })
"""


def test_a_browser_follows_a_job_to_its_end(
    context: BrowserContext, page: Page, service: ServiceProcess
) -> None:
    headers = {"Authorization": f"Bearer {new_key(service, '5.00')['key']}"}
    body = {"model": "flux-1-schnell", "prompt": "a fox", "n": 2}
    asked = headers | {"Prefer": "respond-async"}
    made = httpx.post(f"{service.url}/v1/images/generations", json=body, headers=asked)
    context.set_extra_http_headers(headers)
    page.goto("/healthz")
    heard = page.evaluate(FOLLOW, made.json()["jobId"])
    names = {name for name, _, _ in heard}
    assert {"job", "started", "progress"} <= names
    ids = [id for _, id, _ in heard]
    assert ids == sorted(set(ids))
    # It came back once after the end, was told that there is no more, and stayed away.
    assert [data["status"] for name, _, data in heard if name == "job"][-1] == "completed"
    assert sum(data["status"] == "completed" for name, _, data in heard if name == "job") == 1
