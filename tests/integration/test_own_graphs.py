"""Callers' own graphs by the clients of the field: Comfy's SDKs, and clients of ComfyUI itself."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from PIL import Image
from safetensors.numpy import load

from orchestrator.web.dialects.ids import job_id_to_uuid
from tests.support.api import all_ready, inject_fault, wait_for_instances
from tests.support.callers import new_key
from tests.support.node_project import run_node
from tests.support.polling import poll
from tests.support.python_client import require_client, run_python
from tests.support.service import ServiceProcess, running

SCOPES = ["graphs", "read", "generate", "billing"]
WORDS = 'words = ["ogre"]\n'


def graph(color: int = 7, size: int = 64, prefix: str = "ComfyUI") -> dict[str, Any]:
    source = {"width": size, "height": size, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": source},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def loading(value: Any) -> dict[str, Any]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": value}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def png(color: tuple[int, int, int] = (200, 30, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    words = tmp_path_factory.mktemp("words") / "words.toml"
    words.write_text(WORDS)
    environment = {
        "PIXELFACTORY_MODERATION_FILE": str(words),
        "PIXELFACTORY_FAILURES_PER_MINUTE": "100000",
        "PIXELFACTORY_GRAPH_FILE_COUNT": "5",
    }
    directory = tmp_path_factory.mktemp("graphs")
    with running(ServiceProcess(directory, ("--simulate", "2"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def key(host: ServiceProcess) -> str:
    return new_key(host, scopes=SCOPES)


@pytest.fixture(scope="module")
def other(host: ServiceProcess) -> str:
    return new_key(host, scopes=SCOPES)


async def call(
    http: aiohttp.ClientSession, method: str, path: str, **options: Any
) -> tuple[int, dict[str, Any]]:
    async with http.request(method, path, **options) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else {}


async def submit(http: aiohttp.ClientSession, workflow: Any, **fields: Any) -> dict[str, Any]:
    status, body = await call(http, "POST", "/api/v2/jobs", json={"workflow": workflow, **fields})
    assert status == 201, body
    return body


async def finished(http: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        return (await call(http, "GET", f"/api/v2/jobs/{job_id}"))[1]

    return await poll(read, lambda job: job["status"] in ("succeeded", "failed", "canceled"))


# Comfy API v2


SDK = """
import json, os, sys
from comfy_sdk import Comfy, Workflow, ComfyError, JobFailed
client = Comfy(api_key=os.environ["KEY"])
graph = json.loads(os.environ["GRAPH"])
job = client.run(Workflow(graph))
assert job.status == "succeeded", job.status
(output,) = list(job.outputs)
data = output.to_bytes()
print(data[:4], output.name, output.node_id, len(data) == output.size_bytes)
events = client.submit(Workflow(json.loads(os.environ["OTHER"])), metadata={"client": "acme"})
names = [type(event).__name__ for event in events.events()]
print(names[0], names[-1], "OutputReady" in names)
print([item.id == events.id for item in client.list_jobs(metadata={"client": "acme"})])
asset = client.assets.from_file(os.environ["FILE"])
loaded = json.loads(os.environ["LOADING"])
flow = Workflow(loaded)
flow.set_input("1", "image", asset)
print(client.run(flow).status, client.jobs.get(job.id).status, job.get_workflow().graph == graph)
try:
    client.run(Workflow({"1": {"class_type": "Nope", "inputs": {}}}))
except ComfyError as error:
    print(type(error).__name__, error.code)
"""


async def test_python_sdk_runs_follows_lists_uploads_and_downloads(
    host: ServiceProcess, key: str, tmp_path: Path
) -> None:
    require_client("comfy_sdk")
    (tmp_path / "photo.png").write_bytes(png())
    environment = {
        "COMFY_BASE_URL": host.url,
        "KEY": key,
        "GRAPH": json.dumps(graph(1, prefix="first/art")),
        "OTHER": json.dumps(graph(2)),
        "LOADING": json.dumps(loading("x")),
        "FILE": str(tmp_path / "photo.png"),
    }
    printed = await asyncio.to_thread(run_python, tmp_path, SDK, **environment)
    lines = printed.splitlines()
    assert lines[0] == r"b'\x89PNG' art_00001_.png 2 True"
    # A reader that is late misses the first change of the status.
    assert lines[1] in ("StatusChange StatusChange True", "OutputReady StatusChange True")
    assert lines[2] == "[True]"
    assert lines[3] == "succeeded succeeded True"
    assert lines[4] == "InvalidWorkflow invalid_workflow"


JS = """
import { Comfy, Workflow } from "@comfyorg/sdk";
const client = new Comfy({ apiKey: process.env.KEY });
const job = await client.run(new Workflow(JSON.parse(process.env.GRAPH)));
const output = job.outputs[0];
const bytes = await output.toBytes();
console.log(job.status, output.name, bytes.length === output.sizeBytes);
"""
NATIVE_JS = """
import { ComfyApi, CallWrapper, PromptBuilder } from "@saintno/comfyui-sdk";
const credentials = { type: "bearer_token", token: process.env.KEY };
const api = new ComfyApi(process.env.URL, undefined, { credentials });
await api.init().waitForReady();
const builder = new PromptBuilder(JSON.parse(process.env.GRAPH), ["color"], ["images"])
  .setInputNode("color", "1.inputs.color").setOutputNode("images", "2").input("color", 77);
await new Promise((done, fail) => new CallWrapper(api, builder)
  .onFinished((data) => { console.log(data.images.images[0].filename); done(); })
  .onFailed((error) => fail(error)).run());
process.exit(0);
"""


@pytest.mark.slow
async def test_typescript_sdk_runs_a_graph_and_downloads(
    host: ServiceProcess, key: str, comfy_packages: Path
) -> None:
    environment = {"COMFY_BASE_URL": host.url, "KEY": key, "GRAPH": json.dumps(graph(3))}
    printed = await asyncio.to_thread(run_node, comfy_packages, JS, **environment)
    assert printed.split() == ["succeeded", "ComfyUI_00001_.png", "true"]


@pytest.mark.slow
async def test_a_client_of_comfyui_runs_a_graph_by_the_facade(
    host: ServiceProcess, key: str, comfy_packages: Path
) -> None:
    environment = {"URL": host.url, "KEY": key, "GRAPH": json.dumps(graph(4))}
    printed = await asyncio.to_thread(run_node, comfy_packages, NATIVE_JS, **environment)
    assert printed.split()[-1] == "ComfyUI_00001_.png"


async def test_charges_measured_seconds_and_releases_the_rest(host: ServiceProcess) -> None:
    async with host.client(new_key(host, credit="1.00", scopes=SCOPES)) as http:
        job = await finished(http, (await submit(http, graph(5)))["id"])
        assert job["status"] == "succeeded"
        assert job["metrics"]["cost_micros"] == 1000  # one second is the least
        status, balance = await call(http, "GET", "/api/v1/billing/balance")
        assert (status, balance["balance_usd"], balance["held_usd"]) == (200, 0.999, 0)


async def test_rejects_a_key_for_a_second_job_whatever_its_body(host: ServiceProcess, key: str) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    async with host.client(key) as http:
        bad = {"workflow": {"1": {"class_type": "Nope", "inputs": {}}}}
        status, body = await call(http, "POST", "/api/v2/jobs", json=bad, headers=headers)
        assert (status, body["error"]["code"]) == (422, "invalid_workflow")
        first = {"workflow": graph(8)}
        assert (await call(http, "POST", "/api/v2/jobs", json=first, headers=headers))[0] == 201
        for workflow in (graph(8), graph(9)):
            status, body = await call(
                http, "POST", "/api/v2/jobs", json={"workflow": workflow}, headers=headers
            )
            assert (status, body["error"]["code"]) == (422, "idempotency_key_reuse")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_request"),
        ({"workflow": graph(), "webhook_url": "https://x"}, "invalid_request"),
        ({"workflow": graph(), "extra_data": {"x": 1}}, "invalid_request"),
        ({"workflow": {"nodes": [], "links": []}}, "workflow_format_ui"),
        ({"workflow": graph(), "metadata": {"a b": "x"}}, "metadata_invalid"),
        ({"workflow": graph(), "metadata": {"a": 3}}, "metadata_invalid"),
        ({"workflow": graph(), "metadata": {f"k{n}": "x" for n in range(17)}}, "metadata_invalid"),
        ({"workflow": loading({"__type": "core/ASSET", "info": {"id": str(uuid4())}})}, "missing_asset"),
        ({"workflow": loading("../../etc/passwd")}, "invalid_workflow"),
        ({"workflow": {str(n): graph()["1"] for n in range(2000)}}, "invalid_workflow"),
        ({"workflow": graph(size=100_000)}, "invalid_workflow"),
    ],
)
async def test_v2_rejects_bad_submissions_in_its_envelope(
    host: ServiceProcess, key: str, fields: dict[str, Any], code: str
) -> None:
    async with host.client(key) as http:
        status, body = await call(http, "POST", "/api/v2/jobs", json=fields)
        assert body["error"]["code"] == code, body
        assert status == (400 if code == "invalid_request" else 422)
        assert set(body["error"]) == {"code", "message", "details"}


async def test_moderates_texts_of_any_node(host: ServiceProcess, key: str) -> None:
    data = graph() | {
        "3": {"class_type": "PrimitiveString", "inputs": {"value": "an ogre"}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}},
    }
    async with host.client(key) as http:
        status, body = await call(http, "POST", "/api/v2/jobs", json={"workflow": data})
        assert (status, body["error"]["code"]) == (422, "content_policy_violation")


async def test_needs_the_scope_money_and_a_valid_key(host: ServiceProcess) -> None:
    body = {"workflow": graph(), "prompt": graph()}
    cases = [("pk-wrong", 401, "unauthorized"), (new_key(host), 403, "forbidden")]
    cases.append((new_key(host, credit=None, scopes=SCOPES), 402, "insufficient_credits"))
    for secret, expected, code in cases:
        async with host.client(secret) as http:
            status, error = await call(http, "POST", "/api/v2/jobs", json={"workflow": graph()})
            assert (status, error["error"]["code"]) == (expected, code)
            status, error = await call(http, "POST", "/prompt", json=body)
            assert status == expected
            assert set(error) == {"error", "node_errors"}
    async with aiohttp.ClientSession(host.url) as http:
        for path in ("/queue", "/history", "/object_info", "/system_stats", "/api/v2/jobs", "/view", "/ws"):
            assert (await call(http, "GET", path))[0] == 401


# Files


async def test_deduplicates_by_hash_within_an_account_only(
    host: ServiceProcess, key: str, other: str
) -> None:
    data = png((1, 2, 3))
    async with host.client(key) as mine, host.client(other) as theirs:
        asset = await upload(mine, data, "a/photo.png")
        assert asset["created_new"] is True
        assert (await upload(mine, data, "photo.png"))["id"] == asset["id"]
        path = f"/api/v2/assets/by-hash/{asset['hash']}"
        for http, expected in ((mine, 200), (theirs, 404)):
            async with http.head(path) as response:
                assert response.status == expected
        again = {"hash": asset["hash"], "file_path": "b.png"}
        assert (await call(mine, "POST", "/api/v2/assets/from-hash", json=again))[0] == 200
        status, error = await call(theirs, "POST", "/api/v2/assets/from-hash", json=again)
        assert (status, error["error"]["code"]) == (404, "blob_not_found")
        for suffix in ("", "/content"):
            status, _ = await call(theirs, "GET", f"/api/v2/assets/{asset['id']}{suffix}")
            assert status == 404
        reference = {"__type": "core/ASSET", "info": {"id": asset["id"]}}
        status, error = await call(theirs, "POST", "/api/v2/jobs", json={"workflow": loading(reference)})
        assert (status, error["error"]["details"]["missing_ids"]) == (422, [asset["id"]])
        assert (await finished(mine, (await submit(mine, loading(reference)))["id"]))["status"] == "succeeded"
        async with mine.get(f"/api/v2/assets/{asset['id']}/content", headers={"Range": "bytes=1-3"}) as part:
            assert (part.status, await part.read()) == (206, b"PNG")
        async with mine.delete(f"/api/v2/assets/{asset['id']}") as response:
            assert response.status == 204
        assert (await call(mine, "DELETE", f"/api/v2/assets/{asset['id']}"))[0] == 404


async def upload(http: aiohttp.ClientSession, data: bytes, name: str, **fields: str) -> dict[str, Any]:
    form = aiohttp.FormData()
    for field, value in {"file_path": name, **fields}.items():
        form.add_field(field, value)
    form.add_field("file", data, filename="f.bin", content_type="application/octet-stream")
    status, body = await call(http, "POST", "/api/v2/assets", data=form)
    return {"status": status, **body}


async def test_rejects_files_that_are_none_and_too_many(host: ServiceProcess) -> None:
    async with host.client(new_key(host, scopes=SCOPES)) as http:
        wrong = await upload(http, png(), "x.png", expected_hash="blake3:" + "0" * 64)
        assert (wrong["status"], wrong["error"]["code"]) == (409, "hash_mismatch")
        text = await upload(http, b"#!/bin/sh\nrm -rf /\n", "x.png")
        reference = {"__type": "core/ASSET", "info": {"id": text["id"]}}
        status, error = await call(http, "POST", "/api/v2/jobs", json={"workflow": loading(reference)})
        assert (status, error["error"]["code"]) == (422, "invalid_workflow")
        assert "no image, video or audio" in error["error"]["message"]
        found = [await upload(http, png((number, 0, 0)), "x.png") for number in range(6)]
        assert found[-1]["error"]["code"] == "storage_full"


# ComfyUI's own API


async def test_sends_the_messages_of_comfyui_in_its_order(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        form = aiohttp.FormData()
        form.add_field("image", png(), filename="photo.png", content_type="image/png")
        assert await call(http, "POST", "/upload/image", data=form) == (
            200,
            {"name": "photo.png", "subfolder": "", "type": "input"},
        )
        data = loading("photo.png")
        async with http.ws_connect("/ws?clientId=one") as socket:
            assert (await socket.receive_json())["data"]["sid"] == "one"
            body = {"prompt": data, "client_id": "one"}
            _, accepted = await call(http, "POST", "/prompt", json=body)
            messages = await read_to_end(socket)
        kinds = [message["type"] for message in messages]
        assert kinds[:3] == ["status", "execution_start", "execution_cached"]
        assert kinds[-4:] == ["executed", "execution_success", "status", "executing"]
        nodes = [message["data"]["node"] for message in messages if message["type"] == "executing"]
        assert nodes == ["1", "2", "3", None]
        _, history = await call(http, "GET", f"/api/history/{accepted['prompt_id']}")
        (file,) = history[accepted["prompt_id"]]["outputs"]["3"]["images"]
        assert history[accepted["prompt_id"]]["prompt"][2] == data
        async with http.get("/view", params=file) as response:
            pixels = Image.open(io.BytesIO(await response.read())).convert("RGB").getpixel((5, 5))
        assert pixels == (55, 225, 245)
        reference = f"{file['subfolder']}/{file['filename']} [output]"
        _, second = await call(http, "POST", "/prompt", json={"prompt": loading(reference)})
        assert (await finished(http, f"job_{second['prompt_id'].replace('-', '')}"))["status"] == "succeeded"


async def read_to_end(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != "executing" or found[-1]["data"]["node"] is not None:
        message = await socket.receive(30)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT:
            found.append(json.loads(message.data))
    return found


async def test_hides_everything_from_other_accounts(host: ServiceProcess, key: str, other: str) -> None:
    id = str(uuid4())
    async with host.client(key) as mine, host.client(other) as theirs:
        body = {"prompt": graph(11), "prompt_id": id, "client_id": "two"}
        assert (await call(mine, "POST", "/prompt", json=body))[1]["prompt_id"] == id
        job_id = f"job_{id.replace('-', '')}"
        job = await finished(mine, job_id)
        file = {"filename": job["outputs"][0]["name"], "subfolder": id, "type": "output"}
        assert (await call(theirs, "GET", f"/history/{id}"))[1] == {}
        assert id not in (await call(theirs, "GET", "/history"))[1]
        for path in (f"/api/history_v2/{id}", f"/api/jobs/{id}", f"/api/v2/jobs/{job_id}"):
            assert (await call(theirs, "GET", path))[0] == 404
        assert (await call(theirs, "GET", f"/api/v2/assets/{job['outputs'][0]['id']}"))[0] == 404
        async with theirs.get("/view", params=file) as response:
            assert response.status == 404
        reference = f"{id}/{file['filename']} [output]"
        status, error = await call(theirs, "POST", "/prompt", json={"prompt": loading(reference)})
        assert (status, "names no file" in error["error"]["message"]) == (400, True)
        assert "(got '" in error["error"]["message"]
        await call(theirs, "POST", "/history", json={"delete": [id]})
        assert id in (await call(mine, "GET", f"/history/{id}"))[1]
        status, error = await call(theirs, "POST", "/prompt", json=body)
        assert (status, error["error"]["type"]) == (409, "job_id_reuse")
        async with theirs.ws_connect("/ws?clientId=two") as socket:
            status_message = await socket.receive_json()
        assert status_message["data"]["status"]["exec_info"]["queue_remaining"] == 0


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/view", {"filename": "../pixelfactory.db"}),
        ("/view", {"filename": "x.png", "subfolder": "../.."}),
        ("/view", {"filename": "/etc/passwd", "type": "input"}),
        ("/view", {"filename": "x", "type": "root"}),
        ("/view", {}),
    ],
)
async def test_view_names_no_files_of_the_server(
    host: ServiceProcess, key: str, path: str, params: dict[str, str]
) -> None:
    async with host.client(key) as http, http.get(path, params=params) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_filename"


@pytest.mark.parametrize("folder", ["", "b12f613d-4be6-3a15-1b2a-db5a59c66207", "nothing"])
async def test_view_says_which_result_is_not_there(host: ServiceProcess, key: str, folder: str) -> None:
    async with host.client(key) as http:
        status, error = await call(http, "GET", f"/view?filename=x.png&subfolder={folder}&type=output")
    assert (status, error["error"]["type"]) == (404, "output_not_found")
    assert f"no result 'x.png' in the subfolder {folder!r}" in error["error"]["message"]


async def test_lists_allowed_classes_without_files_of_callers(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        _, found = await call(http, "GET", "/api/object_info")
        assert "KSampler" in found
        assert not {"LoadImageOutput", "StringFormat", "TrainLoraNode", "GLSLShader"} & found.keys()
        assert found["LoadImage"]["input"]["required"]["image"][0] == []


async def test_rejects_bad_prompts_in_the_shape_of_comfyui(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        for body, kind in (
            ({}, "no_prompt"),
            ({"prompt": {}}, "prompt_no_outputs"),
            ({"prompt": {"1": graph()["1"]}}, "prompt_no_outputs"),
            ({"prompt": {"1": {"class_type": "Nope", "inputs": {}}}}, "missing_node_type"),
            ({"prompt": {"1": {"class_type": "Load3D", "inputs": {}}}}, "forbidden_class"),
            ({"prompt": graph(), "prompt_id": "X"}, "invalid_prompt_id"),
            ({"prompt": graph(), "partial_execution_targets": ["9"]}, "prompt_no_outputs"),
        ):
            status, error = await call(http, "POST", "/api/prompt", json=body)
            assert (status, error["error"]["type"]) == (400, kind)


@pytest.mark.parametrize(("path", "field"), [("/api/prompt", "prompt"), ("/api/v2/jobs", "workflow")])
async def test_rejects_two_nodes_with_one_id(host: ServiceProcess, key: str, path: str, field: str) -> None:
    nodes = json.dumps(graph()["1"]), json.dumps(graph()["2"])
    raw = f'{{"{field}": {{"2": {nodes[0]}, "2": {nodes[1]}}}}}'
    async with host.client(key) as http:
        status, error = await call(http, "POST", path, data=raw)
        assert status == 400
        assert "two nodes have the id '2': EmptyImage and SaveImage" in error["error"]["message"]


async def test_a_failing_node_fails_the_job_at_once_and_costs_nothing(host: ServiceProcess) -> None:
    async with host.client(new_key(host, credit="1.00", scopes=SCOPES)) as http:
        await inject_fault(host, "node_error", 1)
        try:
            job = await finished(http, (await submit(http, graph(21)))["id"])
        finally:
            await inject_fault(host, "node_error", 0)
        assert (job["status"], job["error"]["code"]) == ("failed", "node_execution_error")
        assert job["error"]["node_id"] in ("1", "2")
        _, balance = await call(http, "GET", "/api/v1/billing/balance")
        assert (balance["balance_usd"], balance["held_usd"]) == (1.0, 0)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def save_exr(images: str) -> dict[str, Any]:
    chosen = {"format": "exr", "format.bit_depth": "32-bit float", "format.input_color_space": "linear"}
    return node("SaveImageAdvanced", images=[images, 0], filename_prefix="light", **chosen)


#: Nodes whose files are no pictures, films or sounds, and one that only plays a sound.
SAVERS = {
    "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "table": node("PrimitiveString", value="a,b"),
    "silence": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
    "4": node("SaveLatent", samples=["latent", 0], filename_prefix="folded"),
    "5": save_exr("1"),
    "6": node("SaveText", text=["table", 0], filename_prefix="cells", format="csv"),
    "7": node("PreviewAudio", audio=["silence", 0]),
}


async def test_returns_whatever_files_nodes_save(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        job = await finished(http, (await submit(http, graph(61) | SAVERS))["id"])
        assert job["status"] == "succeeded", job
        assert [(one["name"], one["content_type"]) for one in job["outputs"]] == [
            ("ComfyUI_00001_.png", "image/png"),
            ("folded_00001_.latent", "application/octet-stream"),
            ("light_00001_.exr", "application/octet-stream"),
            ("cells_00001_.csv", "text/plain"),
            ("ComfyUI_00002_.flac", "audio/flac"),
        ]
        _, history = await call(http, "GET", f"/history/{job_id_to_uuid(job['id'])}")
        (entry,) = history.values()
        outputs = entry["outputs"]
        assert {id: next(iter(found)) for id, found in outputs.items()} == {
            "2": "images", "4": "latents", "5": "images", "6": "text", "7": "audio",
        }  # fmt: skip
        cells = {"filename": "cells_00001_.csv", "subfolder": job_id_to_uuid(job["id"]), "type": "output"}
        assert outputs["6"] == {"text": ["a,b"], "files": [cells]}
        async with http.get("/view", params=outputs["4"]["latents"][0]) as response:
            assert response.content_type == "application/octet-stream"
            assert load(await response.read())["latent_tensor"].shape == (1, 4, 8, 8)
        latent = next(one["id"] for one in job["outputs"] if one["name"] == "folded_00001_.latent")
        asset = {"__type": "core/ASSET", "info": {"id": latent}}
        status, refused = await call(http, "POST", "/api/v2/jobs", json={"workflow": loading(asset)})
        assert status == 422
        assert "is no image, video or audio file: application/octet-stream" in json.dumps(refused)
        async with http.get("/view", params=outputs["5"]["images"][0]) as response:
            assert (await response.read()).startswith(b"v/1\x01")


@pytest.mark.parametrize(("preview", "content_type"), [("webp;80", "image/webp"), ("jpeg", "image/jpeg")])
async def test_view_converts_an_image(
    host: ServiceProcess, key: str, preview: str, content_type: str
) -> None:
    async with host.client(key) as http:
        job = await finished(http, (await submit(http, graph(61)))["id"])
        file = {"filename": "ComfyUI_00001_.png", "subfolder": job_id_to_uuid(job["id"])}
        async with http.get("/view", params=file | {"preview": preview}) as response:
            assert (response.status, response.content_type) == (200, content_type)


async def test_names_the_node_that_lacks_memory(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        await inject_fault(host, "out_of_memory", 10)
        try:
            job = await finished(http, (await submit(http, graph(62)))["id"])
        finally:
            await inject_fault(host, "out_of_memory", 0)
        error = job["error"]
        assert (error["code"], error["node_id"]) == ("out_of_memory", "1")
        assert error["message"].startswith("node 1 (EmptyImage): ")


async def test_says_which_node_saved_nothing_and_runs_it_once(host: ServiceProcess, key: str) -> None:
    nothing = {"1": node("PrimitiveString", value=""), "2": node("PreviewAny", source=["1", 0])}
    async with host.client(key) as http:
        job = await finished(http, (await submit(http, nothing))["id"])
        error = job["error"]
        assert (job["status"], error["code"]) == ("failed", "node_execution_error")
        assert error["message"] == "node 2 (PreviewAny): no file and no text came of it"
        assert error["node_id"] == "2"
        assert host.log.count(f"shard {job['id']}-0 failed") == 1


async def test_cancels_twice_and_leaves_finished_graphs_alone(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        job = await submit(http, graph(31))
        path = f"/api/v2/jobs/{job['id']}/cancel"
        first = (await call(http, "POST", path))[1]["status"]
        assert first in ("canceled", "succeeded")
        assert (await call(http, "POST", path))[1]["status"] == first
        done = await finished(http, (await submit(http, graph(32)))["id"])
        assert (await call(http, "POST", f"/api/v2/jobs/{done['id']}/cancel"))[1]["status"] == "succeeded"


async def test_answers_the_calls_of_the_cloud_mode_of_a_command_line(host: ServiceProcess, key: str) -> None:
    """What `comfy --where cloud` sends: the key in `X-API-Key`, all paths below `/api`, no websocket."""
    async with aiohttp.ClientSession(host.url, headers={"X-API-Key": key}) as http:
        assert "SaveImage" in (await call(http, "GET", "/api/object_info"))[1]
        extra = {"comfy_usage_source": "comfy-cli", "api_key_comfy_org": "secret"}
        body = {"prompt": graph(41), "client_id": "cli", "extra_data": extra}
        _, accepted = await call(http, "POST", "/api/prompt", json=body)
        id = accepted["prompt_id"]

        async def read() -> tuple[int, dict[str, Any]]:
            return await call(http, "GET", f"/api/history_v2/{id}")

        _, history = await poll(read, lambda found: found[0] == 200)
        assert history[id]["status"]["completed"] is True
        assert "secret" not in json.dumps(history)
        _, job = await call(http, "GET", f"/api/jobs/{id}")
        assert (job["status"], job["outputs_count"]) == ("completed", 1)
        _, listed = await call(http, "GET", "/api/jobs?limit=1")
        assert listed["jobs"][0]["id"] == id
        assert await call(http, "POST", f"/api/jobs/{id}/cancel") == (200, {"cancelled": False})
        async with http.get("/api/view", params=job["preview_output"] | {"type": "output"}) as response:
            assert (response.status, response.content_type) == (200, "image/png")
        assert (await call(http, "GET", "/api/system_stats"))[1]["system"]["comfyui_version"]


async def test_a_browser_sends_the_key_of_a_socket_in_its_address(host: ServiceProcess, key: str) -> None:
    async with (
        aiohttp.ClientSession(host.url) as http,
        http.ws_connect(f"/ws?clientId=browser&token={key}") as socket,
    ):
        assert (await socket.receive_json())["data"]["sid"] == "browser"
        assert (await call(http, "GET", f"/queue?token={key}"))[0] == 401


@pytest.mark.slow
async def test_a_graph_that_ends_its_instances_is_not_run_again(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        await inject_fault(host, "crash", 1)
        job = await finished(http, (await submit(http, graph(51)))["id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "quarantined")
        await wait_for_instances(host, all_ready)
        assert (await finished(http, (await submit(http, graph(52)))["id"]))["status"] == "succeeded"


# Comfy Router


async def test_router_lists_runs_and_queues_models(host: ServiceProcess, key: str) -> None:
    async with host.client(key) as http:
        _, first = await call(http, "GET", "/v2/models?limit=3")
        assert (len(first["data"]), first["has_more"]) == (3, True)
        row = next(row for row in await all_models(http) if row["model"] == "flux-1-schnell")
        path = f"/v2/models/{row['id']}"
        status, result = await call(http, "POST", path, json={"prompt": "a cat", "width": 512, "height": 512})
        assert status == 200
        assert result["outputs"][0]["content_type"] == "image/png"
        _, queued = await call(http, "POST", f"{path}/requests", json={"prompt": "a dog"})
        at = f"{path}/requests/{queued['request_id']}"

        async def read() -> dict[str, Any]:
            return (await call(http, "GET", f"{at}/status"))[1]

        assert (await read())["status"] == "COMPLETED", "the first look waits for the end"
        await poll(read, lambda body: body["status"] == "COMPLETED")
        assert len((await call(http, "GET", at))[1]["outputs"]) == 1
        alias = f"/v2/models/{row['provider']}/flux-schnell/requests"
        _, queued = await call(http, "POST", alias, json={"prompt": "a dog"})
        status, _ = await call(http, "GET", f"{alias}/{queued['request_id']}/status")
        assert status == 200, "a request is found by the name that it was sent to"
        assert await call(http, "PUT", f"{at}/cancel") == (409, {"status": "ALREADY_COMPLETED"})
        async with http.get(f"{path}/openapi.json") as response:
            (posted,) = (await response.json())["paths"].values()
            schema = posted["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert schema["properties"]["width"]["type"] == "integer"
            etag = response.headers["ETag"]
        async with http.get(f"{path}/openapi.json", headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        status, refused = await call(http, "POST", f"/v2/models/{row['provider']}/flux-1-schnel", json={})
        assert (status, refused["error_type"]) == (404, "model_not_found")
        assert f"; did you mean {row['id']}" in refused["detail"]
        assert (await call(http, "GET", path))[1]["error_type"] == "invalid_input"
        async with http.post("/v2/models/unknown/nothing", json={}) as response:
            assert response.status == 404
            assert response.headers["X-Comfy-Error-Type"] == "model_not_found"
            assert (await response.json())["error_type"] == "model_not_found"


async def all_models(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        _, page = await call(http, "GET", f"/v2/models?limit=100{cursor}")
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.slow
async def test_closes_open_sockets_when_the_service_stops(host: ServiceProcess, key: str) -> None:
    """The last test of the module: it starts the service again, for the audit at the end."""
    async with host.client(key) as http, http.ws_connect("/ws?clientId=open") as socket:
        assert (await socket.receive_json())["type"] == "status"
        assert await asyncio.to_thread(host.stop) == 0
        while (message := await socket.receive(30)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await asyncio.to_thread(host.start)
