"""The public event stream of a job, read with the EventSource of a browser."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support.browser import new_key
from tests.support.service import ServiceProcess

#: Collect the events of a job until its EventSource is closed.
FOLLOW = """
    id => new Promise(done => {
        const source = new EventSource(`/api/v1/jobs/${id}/events`);
        const received = [];
        for (const name of ["job", "queue", "started", "progress", "preview"]) {
            source.addEventListener(name, event => {
                received.push([name, +event.lastEventId, JSON.parse(event.data)]);
            });
        }
        source.onerror = () => source.readyState === EventSource.CLOSED && done(received);
    })
"""


@pytest.mark.slow
def test_event_source_receives_each_event_once_and_stops_after_the_last(
    context: BrowserContext, page: Page, service: ServiceProcess
) -> None:
    headers = {"Authorization": f"Bearer {new_key(service, '5.00')['key']}"}
    body = {"model": "flux-1-schnell", "prompt": "a fox", "n": 2}
    request_headers = headers | {"Prefer": "respond-async"}
    submitted = httpx.post(f"{service.url}/v1/images/generations", json=body, headers=request_headers)
    context.set_extra_http_headers(headers)
    page.goto("/healthz")
    received = page.evaluate(FOLLOW, submitted.json()["jobId"])
    names = {name for name, _, _ in received}
    assert {"job", "started", "progress"} <= names
    ids = [id for _, id, _ in received]
    assert ids == sorted(set(ids))
    # EventSource reconnects after the end of the stream; the service then tells it to stop (204).
    assert [data["status"] for name, _, data in received if name == "job"][-1] == "completed"
    assert sum(data["status"] == "completed" for name, _, data in received if name == "job") == 1
