"""Every answer that concerns a job carries its id, and says if simulators make its result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.support.api import inject_fault
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess, running

JOB, SIMULATED = "X-PixelFactory-Job", "X-PixelFactory-Simulated"
IMAGE = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}
VIDEO = {"model": "wan2.1-t2v-fast", "prompt": "waves", "size": "320x256", "seconds": "1"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("headers")
    environment = {"PIXELFACTORY_MAX_ATTEMPTS": "1"}
    with running(ServiceProcess(directory / "data", ("--simulate", "1"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def http(own: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {own.key('5.00')}"}
    with httpx.Client(base_url=own.url, headers=headers, timeout=60) as client:
        yield client


def assert_about(response: httpx.Response, job_id: str | None = None) -> str:
    """Check the headers of an answer about a job, and return the job's id."""
    assert response.headers[JOB].startswith("job_")
    assert job_id in (None, response.headers[JOB])
    assert response.headers[SIMULATED] == "true"
    return str(response.headers[JOB])


@pytest.mark.parametrize("root", ["/v1", "/api/v1"])
def test_images(http: httpx.Client, root: str) -> None:
    path = f"{root}/images/generations"
    assert_about(http.post(path, json=IMAGE))
    assert_about(http.post(path, json=IMAGE | {"stream": True}))
    assert_about(http.post(path, json=IMAGE, headers={"Prefer": "respond-async"}))


def test_videos(http: httpx.Client) -> None:
    created = http.post("/v1/videos", json=VIDEO)
    job_id = assert_about(created)
    wait_until_sync(lambda: http.get(f"/v1/videos/{job_id}").json()["status"] == "completed")
    assert_about(http.get(f"/v1/videos/{job_id}"), job_id)
    assert_about(http.get(f"/v1/videos/{job_id}/content"), job_id)
    assert_about(http.head(f"/v1/videos/{job_id}/content"), job_id)
    assert_about(http.get(f"/v1/videos/{job_id}/content?variant=thumbnail"), job_id)
    assert_about(http.get(f"/api/v1/jobs/{job_id}"), job_id)
    assert_about(http.get(f"/api/v1/jobs/{job_id}/events"), job_id)
    remix = assert_about(http.post(f"/v1/videos/{job_id}/remix", json={"prompt": "storm"}))
    refused = http.post(f"/v1/videos/{job_id}/remix", json={"prompt": "storm", "size": "64x64"})
    assert (refused.status_code, assert_about(refused)) == (400, job_id)
    assert_about(http.delete(f"/v1/videos/{remix}"), remix)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/api/v1/images/generations"])
def test_errors(own: ServiceProcess, http: httpx.Client, path: str) -> None:
    asyncio.run(inject_fault(own, "node_error", 1))
    failed = http.post(path, json=IMAGE)
    assert failed.status_code == 500
    job_id = assert_about(failed)
    assert http.get(f"/api/v1/jobs/{job_id}").json()["error"]["code"] == "node_failed"


def test_a_failed_video(own: ServiceProcess, http: httpx.Client) -> None:
    asyncio.run(inject_fault(own, "node_error", 1))
    job_id = assert_about(http.post("/v1/videos", json=VIDEO))
    wait_until_sync(lambda: http.get(f"/v1/videos/{job_id}").json()["status"] == "failed")
    missing = http.get(f"/v1/videos/{job_id}/content")
    assert (missing.status_code, assert_about(missing)) == (404, job_id)


def test_other_answers_name_no_job(http: httpx.Client) -> None:
    for response in (http.get("/v1/models"), http.get("/v1/videos/job_nobody"), http.get("/api/v1/jobs")):
        assert JOB not in response.headers
