"""Results are marked as generated, and signed with the operator's certificate, however they reach callers."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.media.formats import detect_content_type
from orchestrator.media.marks.content_credentials import Credentials, read_credentials
from orchestrator.media.marks.signing_certificates import make_development_certificate
from orchestrator.media.marks.source_marks import SourceType, read_source
from tests.support.callers import new_key
from tests.support.images import base64_png
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess, running

IMAGE = {
    "model": "flux-1-schnell",
    "prompt": "a secret fox",
    "size": "256x256",
    "response_format": "b64_json",
}
MADE = make_development_certificate("Test", datetime.now(UTC))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "chain.pem").write_bytes(MADE.chain)
    (folder / "key.pem").write_bytes(MADE.key)
    environment = {
        "PIXELFACTORY_C2PA_CERTIFICATE": str(folder / "chain.pem"),
        "PIXELFACTORY_C2PA_KEY": str(folder / "key.pem"),
    }
    data = tmp_path_factory.mktemp("signed")
    with running(ServiceProcess(data, ("--simulate", "1"), environment)) as service:
        yield service


@pytest.fixture(scope="module")
def http(signed: ServiceProcess) -> Iterator[httpx.Client]:
    key = new_key(signed, "50.00", scopes=["graphs", "read", "generate"])
    with httpx.Client(base_url=signed.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def check(response: httpx.Response) -> httpx.Response:
    assert response.status_code < 300, response.text
    return response


def trusted(data: bytes, source: SourceType = SourceType.GENERATED) -> Credentials:
    """What a file's manifest says, which must be that of our certificate."""
    content_type = detect_content_type(data)
    assert content_type is not None
    found = read_credentials(data, content_type, MADE.authority)
    assert found is not None, f"the {content_type} is not signed"
    assert (found.state, found.problems) == ("trusted", [])
    assert found.source == read_source(data, content_type) == source
    assert found.prompt is None
    assert b"secret fox" not in data
    return found


@pytest.mark.slow
def test_images_that_instances_deliver_are_signed_in_the_format_that_was_asked_for(
    signed: ServiceProcess, http: httpx.Client
) -> None:
    for output_format in ("png", "webp", "jpeg"):
        body = {**IMAGE, "output_format": output_format}
        row = check(http.post("/v1/images/generations", json=body)).json()["data"][0]
        found = trusted(b64decode(row["b64_json"]))
        assert found.model == "flux-1-schnell"
        assert found.model_version is not None
        assert len(found.model_version) == 12
    headers = {"Authorization": f"Bearer {signed.admin_token}"}
    instances = check(http.get("/admin/v1/instances", headers=headers)).json()["instances"]
    assert {row["delivery"] for row in instances} == {"direct"}


def test_the_digest_of_a_result_is_that_of_the_signed_file(http: httpx.Client) -> None:
    body = {**IMAGE, "response_format": "url"}
    url = check(http.post("/v1/images/generations", json=body)).json()["data"][0]["url"]
    data = check(httpx.get(url)).content
    trusted(data)
    assert hashlib.sha256(data).hexdigest() in url


def test_a_video_its_still_and_its_sheet_are_signed(http: httpx.Client) -> None:
    body = {"model": "wan2.1-t2v-fast", "prompt": "a secret fox", "size": "320x256", "seconds": "1"}
    video = check(http.post("/v1/videos", json=body)).json()["id"]
    wait_until_sync(lambda: check(http.get(f"/v1/videos/{video}")).json()["status"] == "completed")
    for variant in ("video", "thumbnail", "spritesheet"):
        data = check(http.get(f"/v1/videos/{video}/content", params={"variant": variant})).content
        assert trusted(data).model == "wan2.1-t2v-fast"


def test_what_the_web_ui_api_changes_is_signed_again(http: httpx.Client) -> None:
    fields = {"prompt": "a fox", "width": 256, "height": 256}
    drawn = check(http.post("/sdapi/v1/txt2img", json=fields)).json()["images"][0]
    assert trusted(b64decode(drawn)).inputs == []
    photo = base64_png(64, 64)
    larger = {"image": photo, "upscaler_1": "4x-ultrasharp", "upscaling_resize": 2}
    enlarged = check(http.post("/sdapi/v1/extra-single-image", json=larger)).json()["image"]
    assert trusted(b64decode(enlarged)).inputs == ["image"]
    unchanged = {**larger, "upscaler_1": "None"}
    data = b64decode(check(http.post("/sdapi/v1/extra-single-image", json=unchanged)).json()["image"])
    assert read_source(data, "image/png") is None, "a photograph that was only resized is not generated"


def test_results_of_own_graphs_and_their_previews_are_signed(http: httpx.Client) -> None:
    source = {"width": 64, "height": 64, "batch_size": 1, "color": 7}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": source},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "own"}},
    }
    prompt = check(http.post("/prompt", json={"prompt": graph})).json()["prompt_id"]

    def history() -> Any:
        return check(http.get(f"/history/{prompt}")).json().get(prompt)

    wait_until_sync(lambda: history() is not None)
    (file,) = history()["outputs"]["2"]["images"]
    trusted(check(http.get("/view", params=file)).content)
    trusted(check(http.get("/view", params={**file, "preview": "webp;80"})).content)


def test_instances_and_the_log_never_see_the_key(signed: ServiceProcess) -> None:
    assert MADE.key.decode().splitlines()[1] not in signed.log
    place = str(signed.data_dir)
    instances = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(place in word for word in process.info["cmdline"] or ()) and is_instance(process)
    ]
    assert instances
    for instance in instances:
        assert not [name for name in instance.environ() if name.startswith("PIXELFACTORY_C2PA")]


def is_instance(process: psutil.Process) -> bool:
    return any("simulator" in word for word in process.info["cmdline"])


def test_the_end_of_the_certificate_is_a_metric(signed: ServiceProcess) -> None:
    text = check(httpx.get(f"{signed.url}/metrics")).text
    line = next(line for line in text.splitlines() if line.startswith("pixelfactory_signing_certificate_end"))
    ends = datetime.fromtimestamp(float(line.split()[1]), UTC)
    assert 300 < (ends - datetime.now(UTC)).days < 400


def test_results_are_marked_without_a_certificate(service: ServiceProcess) -> None:
    headers = {"Authorization": f"Bearer {new_key(service, '50.00')}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
        for output_format in ("png", "webp"):
            body = {**IMAGE, "output_format": output_format}
            row = check(http.post("/v1/images/generations", json=body)).json()["data"][0]
            assert read_source(b64decode(row["b64_json"]), f"image/{output_format}") == SourceType.GENERATED
        body = {"model": "wan2.1-t2v-fast", "prompt": "waves", "size": "320x256", "seconds": "1"}
        video = check(http.post("/v1/videos", json=body)).json()["id"]
        wait_until_sync(lambda: check(http.get(f"/v1/videos/{video}")).json()["status"] == "completed")
        for variant, content_type in (("video", "video/mp4"), ("thumbnail", "image/webp")):
            data = check(http.get(f"/v1/videos/{video}/content", params={"variant": variant})).content
            assert read_source(data, content_type) == SourceType.GENERATED
