"""What only the simulator does: faults on demand, simulated memory and time, and a quick end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.conformance_client import ConformanceClient, client
from tests.contract.conformance_graphs import enlarged, events, node
from tests.support.comfyui_server import ComfyUIServer, simulator


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ComfyUIServer]:
    with simulator(tmp_path / "instance") as running:
        yield running


async def arm(user: ConformanceClient, kind: str, count: int = 1) -> None:
    status, armed = await user.post("/simulator/faults", {"kind": kind, "count": count})
    assert (status, armed) == (200, {kind: count})


def sampled(seed: int = 1, steps: int = 3) -> dict[str, Any]:
    """A picture by Stable Diffusion XL."""
    inputs = {"seed": seed, "steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"}
    links = {"positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": node("CLIPTextEncode", clip=["1", 1], text="a heron"),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node("KSampler", model=["1", 0], denoise=1.0, **links, **inputs),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("SaveImage", images=["5", 0], filename_prefix="sampled"),
    }


@pytest.mark.parametrize(
    ("kind", "exception_type"), [("out_of_memory", "torch.OutOfMemoryError"), ("node_error", "RuntimeError")]
)
async def test_a_failing_node_fails_as_often_as_asked(
    kind: str, exception_type: str, server: ComfyUIServer
) -> None:
    async with client(server.url) as user:
        await arm(user, kind, 2)
        for expected in (exception_type, exception_type, None):
            history = await user.finished(await user.submit(enlarged("fault")))
            failure = dict(history["status"]["messages"]).get("execution_error", {})
            assert failure.get("exception_type") == expected
        assert (await user.get("/simulator/faults"))[1] == {}


async def test_a_request_that_cannot_be_read_is_one_line_of_its_log(tmp_path: Path) -> None:
    bodies = [
        b"{",
        b'{"prompt": null}',
        b"\xff",
        b'{"prompt": []}',
        b'{"prompt": {"1": 5}}',
        b'{"number": "x"}',
    ]
    with simulator(tmp_path / "instance") as server:
        async with aiohttp.ClientSession(server.url) as http:
            for body in bodies:
                async with http.post("/prompt", data=body) as response:
                    # The status and the text of ComfyUI.
                    assert response.status == 500
                    assert "Server got itself in trouble" in await response.text()
            async with http.post("/queue", data=b"{") as response:
                assert response.status == 500
        log = (tmp_path / "instance" / "server.log").read_text()
    assert "Traceback" not in log
    assert log.count("failed, as it does in ComfyUI") == len(bodies) + 1


async def test_no_output_succeeds_with_nothing(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        await arm(user, "no_output")
        empty = await user.finished(await user.submit(enlarged("nothing")))
        full = await user.finished(await user.submit(enlarged("nothing")))
    assert (empty["status"]["status_str"], empty["outputs"]) == ("success", {})
    assert list(full["outputs"]) == ["3"]


async def test_reject_refuses_a_good_graph(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        await arm(user, "reject")
        body = {"prompt": enlarged("rejected")}
        status, answer = await user.post("/prompt", body)
        assert (status, answer["error"]["type"]) == (400, "prompt_outputs_failed_validation")
        assert list(answer["node_errors"]) == ["3"]
        assert (await user.post("/prompt", body))[0] == 200


async def test_drop_socket_cuts_the_connection_and_runs_on(server: ComfyUIServer) -> None:
    async with client(server.url) as user, client(server.url) as bystander:
        await arm(user, "drop_socket")
        prompt_id = await user.submit(enlarged("dropped"))
        with pytest.raises(ConnectionError):
            await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        assert history["status"]["status_str"] == "success"
        other = await bystander.submit(enlarged("bystander"))
        assert events(await bystander.hear_to_end(other))[-1] == "executing"


async def test_crash_ends_the_process(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        await arm(user, "crash")
        prompt_id = await user.submit(enlarged("crash"))
        with pytest.raises(ConnectionError):
            await user.hear_to_end(prompt_id)
    assert await asyncio.to_thread(server.process.wait, 10) == 1


async def test_a_hanging_prompt_ignores_interrupts_but_the_server_responds(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        await arm(user, "hang")
        prompt_id = await user.submit(enlarged("hang"))
        await user.hear_until("executing", prompt_id=prompt_id)
        await user.post("/interrupt", {"prompt_id": prompt_id})
        await asyncio.sleep(0.2)
        _, rows = await user.get("/queue")
        assert [row[1] for row in rows["queue_running"]] == [prompt_id]
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 10) == -signal.SIGTERM


@pytest.mark.parametrize(
    "body", [[], {}, {"kind": "earthquake"}, {"kind": "crash", "count": -1}, {"kind": "crash", "count": "2"}]
)
async def test_unknown_faults_are_refused(body: Any, server: ComfyUIServer) -> None:
    async with client(server.url, connected=False) as user:
        status, answer = await user.post("/simulator/faults", body)
    assert (status, "kind must be one of crash" in answer["error"]) == (400, True)


async def test_a_fault_can_be_taken_back(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        await arm(user, "node_error", 3)
        assert await user.post("/simulator/faults", {"kind": "node_error", "count": 0}) == (200, {})
        history = await user.finished(await user.submit(enlarged("spared")))
    assert history["status"]["completed"]


async def test_previews_come_bare_or_described(server: ComfyUIServer) -> None:
    async with client(server.url) as user:
        heard = await user.hear_to_end(await user.submit(sampled()))
    pictures = [message for message in heard if isinstance(message, dict)]
    assert pictures == [{"binary": "preview", "format": 1, "is": "JPEG"}] * 3
    async with client(server.url, connected=False) as user:
        await user.connect({"supports_preview_metadata": True})
        heard = await user.hear_to_end(await user.submit(sampled(seed=2)))
    pictures = [message for message in heard if isinstance(message, dict)]
    assert [picture["binary"] for picture in pictures] == [4, 4, 4]
    assert {picture["metadata"]["node_id"] for picture in pictures} == {"4"}


async def test_memory_is_held_shown_and_freed(server: ComfyUIServer) -> None:
    async with client(server.url) as user:

        async def device() -> dict[str, Any]:
            row: dict[str, Any] = (await user.get("/system_stats"))[1]["devices"][0]
            return row

        before = await device()
        assert before["name"].startswith("simulated")
        assert before["vram_total"] == 96 * 1024**3
        await user.finished(await user.submit(sampled()))
        assert before["vram_free"] - (await device())["vram_free"] == 6_940_000_000
        await user.post("/free", {"unload_models": True})
        await user.finished(await user.submit(enlarged("freed")))
        assert (await device())["vram_free"] == before["vram_free"]


async def test_too_little_memory_is_out_of_memory(tmp_path: Path) -> None:
    with simulator(tmp_path / "instance", "--vram-gb", "4") as server:
        async with client(server.url) as user:
            history = await user.finished(await user.submit(sampled()))
    failure = dict(history["status"]["messages"])["execution_error"]
    assert failure["exception_type"] == "torch.OutOfMemoryError"


async def test_simulated_time_is_spent_and_can_be_interrupted(tmp_path: Path) -> None:
    """At this scale the model loads for hours: that the prompt ends is the interrupt's doing."""
    with simulator(tmp_path / "instance", "--time-scale", "10000") as server:
        async with client(server.url) as user:
            prompt_id = await user.submit(sampled())
            await user.hear_until("executing", node="2")
            await user.post("/interrupt", {"prompt_id": prompt_id})
            heard = await user.hear_to_end(prompt_id)
    assert "execution_interrupted" in events(heard)


async def test_a_taken_port_ends_the_start(server: ComfyUIServer, tmp_path: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "comfy_instances.simulator", "--port", port]
    command += ["--base-directory", str(tmp_path / "second")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=30)
    assert done.returncode == 1
    assert b"cannot start" in done.stderr


async def test_temporary_files_go_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "instance" / "temp" / "old.png"
    kept = tmp_path / "instance" / "output" / "old.png"
    for path in (left, kept):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"old")
    with simulator(tmp_path / "instance"):
        assert (left.exists(), kept.exists()) == (False, True)
