"""One trace per job by OpenTelemetry, from the request to object storage."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.support.callers import new_key
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, receiving_traces
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess, running

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

BODY = {"model": "sdxl-1.0", "prompt": "a secret fox", "width": 256, "height": 256, "n": 2}
CALLER = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with receiving_traces() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {**receiver.environment, "PIXELFACTORY_LOG_FORMAT": "json"}
    data = tmp_path_factory.mktemp("traced")
    with running(ServiceProcess(data, ("--simulate", "1"), environment)) as service:
        yield service


@pytest.fixture(scope="module")
def http(traced: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {new_key(traced, '50.00')}"}
    with httpx.Client(base_url=traced.url, headers=headers, timeout=60) as client:
        yield client


def only(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def all_of(spans: list[ReceivedSpan], name: str) -> list[ReceivedSpan]:
    return [span for span in spans if span.name == name]


def test_a_job_is_one_trace_from_the_request_to_object_storage(
    http: httpx.Client, receiver: OtlpReceiver
) -> None:
    response = http.post("/api/v1/images/generations", json=BODY)
    assert response.status_code == 200, response.text
    trace_id = response.headers["X-Request-Id"].removeprefix("req_")
    route = "POST /api/v1/images/generations"
    spans = receiver.wait_for(trace_id, route, "job")
    request, job = only(spans, route), only(spans, "job")
    assert (request.parent_id, request.kind) == ("", 2)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["pixelfactory.request.id"] == response.headers["X-Request-Id"]
    assert job.parent_id == request.span_id
    assert job.attributes["pixelfactory.job.status"] == "succeeded"
    assert job.attributes["pixelfactory.model"] == "sdxl-1.0"
    for name in ("prepare", "accept"):
        assert only(spans, name).parent_id == request.span_id
    waits, attempts = all_of(spans, "wait"), all_of(spans, "attempt")
    assert len(waits) == len(attempts) == 2
    assert {span.parent_id for span in (*waits, *attempts)} == {job.span_id}
    assert {span.attributes["pixelfactory.instance.id"] for span in attempts} == {"sim-0"}
    ids = {span.span_id for span in attempts}
    for name in ("queue", "run", "store", "finish"):
        assert {span.parent_id for span in all_of(spans, name)} == ids, name
    stores = {span.span_id for span in all_of(spans, "store")}
    for name in ("encode", "put"):
        steps = all_of(spans, name)
        assert {span.parent_id for span in steps} == stores, name
        assert all(span.attributes["pixelfactory.direct"] for span in steps), (
            "the instance has delivered them"
        )
    assert all(span.start <= span.end for span in spans)
    assert only(spans, "job").resource["service.name"] == "pixelfactory"
    assert "secret fox" not in repr(spans)


def test_a_load_is_a_span_of_its_own(http: httpx.Client, receiver: OtlpReceiver) -> None:
    response = http.post("/api/v1/images/generations", json={**BODY, "model": "flux-1-schnell", "n": 1})
    spans = receiver.wait_for(response.headers["X-Request-Id"].removeprefix("req_"), "job", "load")
    load, run = only(spans, "load"), only(spans, "run")
    assert load.end <= run.start


def test_the_trace_of_a_caller_goes_on(http: httpx.Client, receiver: OtlpReceiver) -> None:
    headers = {"traceparent": f"00-{CALLER}-{PARENT}-01"}
    answers = [http.get("/v1/models", headers=headers).headers["X-Request-Id"] for _ in range(2)]
    assert len(set(answers)) == 2, "requests of one trace have ids of their own"
    assert all(CALLER in answer for answer in answers)
    wait_until_sync(lambda: len(receiver.trace(CALLER)) == 2)
    assert {span.parent_id for span in receiver.trace(CALLER)} == {PARENT}


def test_what_a_caller_does_not_trace_is_not_traced(http: httpx.Client, receiver: OtlpReceiver) -> None:
    quiet = "1" * 32
    http.get("/v1/models", headers={"traceparent": f"00-{quiet}-{PARENT}-00"})
    later = http.get("/v1/models").headers["X-Request-Id"].removeprefix("req_")
    receiver.wait_for(later, "GET /v1/models")
    assert receiver.trace(quiet) == []


def test_a_refused_request_and_probes(http: httpx.Client, receiver: OtlpReceiver) -> None:
    response = http.post("/api/v1/images/generations", json={**BODY, "width": 100_000})
    assert response.status_code == 400
    trace_id = response.headers["X-Request-Id"].removeprefix("req_")
    spans = receiver.wait_for(trace_id, "POST /api/v1/images/generations")
    request = only(spans, "POST /api/v1/images/generations")
    assert (request.attributes["http.response.status_code"], request.status) == (400, 0)
    assert only(spans, "prepare").status == 2
    http.get("/healthz")
    later = http.get("/v1/models").headers["X-Request-Id"].removeprefix("req_")
    receiver.wait_for(later, "GET /v1/models")
    assert not [span for span in receiver.spans if "/healthz" in span.name]


def test_log_lines_name_their_trace(traced: ServiceProcess, http: httpx.Client) -> None:
    response = http.post("/api/v1/images/generations", json={**BODY, "n": 1})
    trace_id = response.headers["X-Request-Id"].removeprefix("req_")

    def lines() -> list[dict[str, str]]:
        found = [json.loads(line) for line in traced.log.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("trace_id") == trace_id]

    wait_until_sync(lambda: any("POST" in line["message"] for line in lines()))
    assert any(line["message"].startswith("job ") for line in lines()), "the end of the job"
    assert all(len(line["span_id"]) == 16 for line in lines())


def test_the_token_of_the_collector_is_for_the_service_only(
    traced: ServiceProcess, http: httpx.Client, receiver: OtlpReceiver
) -> None:
    http.get("/v1/models")
    wait_until_sync(lambda: bool(receiver.authorizations))
    assert receiver.authorizations == {"Bearer token-of-the-collector"}
    assert "token-of-the-collector" not in traced.log
    place = str(traced.data_dir)
    commands = {process: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    instances = [
        process
        for process, command in commands.items()
        if any(place in word for word in command) and any("simulator" in word for word in command)
    ]
    assert instances
    for instance in instances:
        assert not [name for name in instance.environ() if name.startswith("OTEL_EXPORTER")]
