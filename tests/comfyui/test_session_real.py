"""The session with a real ComfyUI on the CPU."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from comfy_instances.protocol.errors import BadGraph, InstanceGone, NodeFailed, NoOutput, PromptCancelled
from comfy_instances.session.session import (
    FileRef,
    InstanceSession,
    NodeStarted,
    SessionSettings,
    StepProgress,
)
from tests.support.comfyui_server import installed_comfyui
from tests.support.faulty_proxy import FaultyProxy
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
]
#: ComfyUI computes with all cores, and answers late beside other tests.
SETTINGS = SessionSettings(silence_s=1.0, gone_after_s=30.0, backoff_max_s=0.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    assert INSTALL is not None
    server = RealServer(INSTALL, tmp_path_factory.mktemp("comfyui"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def session(server: RealServer) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(server.url, settings=SETTINGS) as session:
        await session.wait_connected(60)
        yield session


@pytest.fixture
async def patient_session(server: RealServer) -> AsyncIterator[InstanceSession]:
    """A session that waits for all messages; others read the result when they hear nothing for a second."""
    async with InstanceSession(server.url, settings=replace(SETTINGS, silence_s=60.0)) as session:
        await session.wait_connected(60)
        yield session


def new_id() -> str:
    return str(uuid4())


def blank(size: int, color: int = 0) -> dict[str, Any]:
    inputs = {"width": size, "height": size, "batch_size": 1, "color": color}
    return {"class_type": "EmptyImage", "inputs": inputs}


def saver(source: str) -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": "pf/pf"}}


def picture(size: int = 16, color: int = 0xFF8000) -> dict[str, Any]:
    return {"1": blank(size, color), "2": saver("1")}


def laborious(color: int, size: int = 1500) -> dict[str, Any]:
    """About two seconds of work in ten nodes, not to be had from the cache."""
    graph = {"1": blank(size, color)}
    for step in range(2, 12):
        inputs = {
            "image": [str(step - 1), 0],
            "upscale_method": "lanczos",
            "width": size + step,
            "height": size + step,
            "crop": "disabled",
        }
        graph[str(step)] = {"class_type": "ImageScale", "inputs": inputs}
    return {**graph, "12": saver("11")}


async def until_it_runs(session: InstanceSession, prompt_id: str) -> None:
    await poll(session.get_queue, lambda queue: queue.is_running(prompt_id))


def opened(data: bytes | None) -> Image.Image:
    return Image.open(io.BytesIO(data or b"")).convert("RGB")


async def test_runs_a_graph_and_fetches_its_image(patient_session: InstanceSession) -> None:
    heard: list[Any] = []
    prompt_id = new_id()
    result = await patient_session.run_prompt(prompt_id, picture(), heard.append)
    (output,) = result.outputs
    assert (output.node, output.key) == ("2", "images")
    assert output.file is not None
    assert output.file.subfolder == "pf"
    assert prompt_id in output.file.filename
    image = opened(await patient_session.fetch_file(output.file))
    assert image.size == (16, 16)
    assert image.getpixel((3, 3)) == (255, 128, 0)
    assert heard == [NodeStarted(prompt_id, "1"), NodeStarted(prompt_id, "2")]
    assert 0 < result.gpu_seconds < 5


async def test_returns_the_log_of_the_server(session: InstanceSession) -> None:
    before = datetime.now(UTC)
    await session.run_prompt(new_id(), picture(17))
    lines = await session.get_log()
    assert [text for at, text in lines if at >= before and text.endswith("got prompt")]
    assert not [text for _, text in lines if "\x1b" in text or "\n" in text]


async def test_the_same_graph_again_is_cached_and_still_writes_its_own_file(session: InstanceSession) -> None:
    first = await session.run_prompt(new_id(), picture(17))
    second = await session.run_prompt(new_id(), picture(17))
    assert "1" in second.cached
    assert second.outputs != first.outputs
    for result in (first, second):
        assert result.outputs[0].file is not None
        assert opened(await session.fetch_file(result.outputs[0].file)).size == (17, 17)


async def test_a_saver_without_prefix_is_cached_and_its_output_found(session: InstanceSession) -> None:
    graph = {
        "1": blank(18),
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    first = await session.run_prompt(new_id(), graph)
    second = await session.run_prompt(new_id(), graph)
    assert second.cached == {"1", "2"}
    assert second.outputs == first.outputs
    assert second.outputs[0].file is not None
    assert second.outputs[0].file.type == "temp"


async def test_receives_images_over_the_websocket(session: InstanceSession) -> None:
    batch = blank(8)
    batch["inputs"]["batch_size"] = 3
    graph = {"1": batch, "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    result = await session.run_prompt(new_id(), graph)
    assert [opened(item.data).size for item in result.outputs] == [(8, 8)] * 3


async def test_video_audio_and_text(session: InstanceSession) -> None:
    frames = blank(64)
    frames["inputs"]["batch_size"] = 4
    graph = {
        "1": frames,
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "v", "format": "mp4", "codec": "h264"},
        },
        "4": {"class_type": "EmptyAudio", "inputs": {"duration": 0.1, "sample_rate": 44100, "channels": 2}},
        "5": {"class_type": "SaveAudio", "inputs": {"audio": ["4", 0], "filename_prefix": "a"}},
        "6": {"class_type": "PrimitiveString", "inputs": {"value": "hello"}},
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["6", 0]}},
    }
    result = await session.run_prompt(new_id(), graph)
    by_node = {item.node: item for item in result.outputs}
    assert by_node["7"].text == "hello"
    heads = {}
    for node in ("3", "5"):
        file = by_node[node].file
        assert file is not None
        heads[node] = (await session.fetch_file(file))[:8]
    assert heads["3"][4:] == b"ftyp"
    assert heads["5"][:4] == b"fLaC"


@pytest.mark.parametrize(
    ("graph", "word"),
    [
        ({}, "prompt_no_outputs"),
        ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "missing_node_type"),
        ({"2": {"class_type": "SaveImage", "inputs": {}}}, "prompt_outputs_failed_validation"),
        ({"1": blank(99999), "2": saver("1")}, "prompt_outputs_failed_validation"),
        ({"2": saver("9")}, "prompt_outputs_failed_validation"),
    ],
)
async def test_rejects_an_invalid_graph(session: InstanceSession, graph: dict[str, Any], word: str) -> None:
    with pytest.raises(BadGraph) as caught:
        await session.run_prompt(new_id(), graph)
    assert caught.value.error_type == word


async def test_runs_the_valid_part_of_a_graph(session: InstanceSession) -> None:
    graph = {**picture(), "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    prompt_id = new_id()
    with pytest.raises(BadGraph, match="node 3"):
        await session.run_prompt(prompt_id, graph)
    assert (await session.get_queue()).find(prompt_id) is None


async def test_uploads_an_input_and_reads_it_back(session: InstanceSession) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (1, 2, 3)).save(buffer, "PNG")
    name = await session.upload_input(f"{new_id()}.png", buffer.getvalue(), "image/png")
    result = await session.run_prompt(
        new_id(), {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": saver("1")}
    )
    assert result.outputs[0].file is not None
    image = opened(await session.fetch_file(result.outputs[0].file))
    assert (image.size, image.getpixel((0, 0))) == ((20, 10), (1, 2, 3))


async def test_a_broken_input_fails_its_node(session: InstanceSession) -> None:
    name = f"{new_id()}.png"
    assert await session.upload_input(name, b"not a picture", "image/png") == name
    assert await session.upload_input(name, b"other bytes", "image/png") == name.replace(".png", " (1).png")
    with pytest.raises(NodeFailed) as caught:
        await session.run_prompt(
            new_id(), {"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": saver("1")}
        )
    assert (caught.value.node_id, caught.value.node_type) == ("1", "LoadImage")
    assert caught.value.exception_type == "PIL.UnidentifiedImageError"


async def test_missing_files_are_no_output(session: InstanceSession) -> None:
    for file in (FileRef("none.png"), FileRef("../log"), FileRef("passwd", "../../../etc")):
        with pytest.raises(NoOutput):
            await session.fetch_file(file)


async def test_cancels_a_running_and_a_queued_prompt(session: InstanceSession) -> None:
    first, second, third = new_id(), new_id(), new_id()
    runs = [
        asyncio.create_task(session.run_prompt(first, laborious(1))),
        asyncio.create_task(session.run_prompt(second, picture(19))),
        asyncio.create_task(session.run_prompt(third, picture(20))),
    ]
    await until_it_runs(session, first)
    await session.cancel_prompt(second)
    await session.cancel_prompt(first)
    one, two, three = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(one, PromptCancelled)
    assert isinstance(two, PromptCancelled)
    assert not isinstance(three, BaseException)


async def test_reconnects_a_socket_cut_during_a_run(server: RealServer) -> None:
    heard: list[Any] = []
    prompt_id = new_id()
    async with (
        FaultyProxy(server.port) as meddler,
        InstanceSession(meddler.url, settings=SETTINGS) as session,
    ):
        run = asyncio.create_task(session.run_prompt(prompt_id, laborious(2), heard.append))
        await until_it_runs(session, prompt_id)
        meddler.cut()
        result = await run
        assert meddler.opened == 2
        assert result.outputs[0].node == "12"
        assert result.gpu_seconds > 0
        assert NodeStarted(prompt_id, "12") in heard


async def test_replaces_a_silent_socket_during_a_run(server: RealServer) -> None:
    async with (
        FaultyProxy(server.port) as meddler,
        InstanceSession(meddler.url, settings=SETTINGS) as session,
    ):
        prompt_id = new_id()
        run = asyncio.create_task(session.run_prompt(prompt_id, laborious(3)))
        await until_it_runs(session, prompt_id)
        meddler.silence()
        assert (await run).outputs[0].node == "12"
        meddler.speak()
        await session.wait_connected(60)
        assert (await session.run_prompt(new_id(), picture(21))).outputs


async def test_resumes_a_prompt_after_a_crash_of_the_client(server: RealServer) -> None:
    running, waiting = new_id(), new_id()
    async with InstanceSession(server.url, settings=SETTINGS) as crashed:
        await crashed.wait_connected(60)
        lost = [
            asyncio.create_task(crashed.run_prompt(running, laborious(4))),
            asyncio.create_task(crashed.run_prompt(waiting, picture(22))),
        ]
        await until_it_runs(crashed, running)
        for task in lost:
            task.cancel()
        await asyncio.wait(lost)
    heard: list[Any] = []
    async with InstanceSession(server.url, settings=SETTINGS) as session:
        first, second = await asyncio.gather(
            session.resume_prompt(running, heard.append), session.resume_prompt(waiting)
        )
        assert first is not None
        assert second is not None
        assert first.outputs[0].node == "12"
        assert second.outputs[0].node == "2"
        assert NodeStarted(running, "12") in heard
        assert await session.resume_prompt(running) == first
        await session.delete_history([running])
        assert await session.resume_prompt(running) is None
        assert await session.resume_prompt(new_id()) is None


async def test_reads_system_statistics_and_features(session: InstanceSession) -> None:
    stats = await session.get_system_stats()
    assert stats.version is not None
    assert stats.devices[0].type == "cpu"
    info = await session.get_object_info()
    assert "SaveImage" in info
    await session.free_memory()
    await poll(session.get_queue_depth, lambda depth: depth == 0)  # an earlier prompt may just have ended


async def test_receives_the_steps_of_a_node(patient_session: InstanceSession) -> None:
    batch = blank(8)
    batch["inputs"]["batch_size"] = 3
    heard: list[Any] = []
    graph = {"1": batch, "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    prompt_id = new_id()
    await patient_session.run_prompt(prompt_id, graph, heard.append)
    steps = [event for event in heard if isinstance(event, StepProgress)]
    assert steps == [StepProgress(prompt_id, "2", step, 3) for step in (0, 1, 2)]


async def test_a_stopped_process_is_given_up(server: RealServer, session: InstanceSession) -> None:
    prompt_id = new_id()
    run = asyncio.create_task(session.run_prompt(prompt_id, laborious(5)))
    await until_it_runs(session, prompt_id)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(InstanceGone):
            await run
    finally:
        server.signal(signal.SIGCONT)
    await session.cancel_prompt(prompt_id)


async def test_a_killed_process_loses_its_prompts_and_comes_back(
    server: RealServer, session: InstanceSession
) -> None:
    running, waiting = new_id(), new_id()
    runs = [
        asyncio.create_task(session.run_prompt(running, laborious(6))),
        asyncio.create_task(session.run_prompt(waiting, picture(23))),
    ]
    await until_it_runs(session, running)
    server.kill()
    for outcome in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(outcome, InstanceGone)
    await asyncio.to_thread(server.start)
    await session.wait_connected(60)
    assert await session.resume_prompt(running) is None
    assert (await session.run_prompt(new_id(), picture(24))).outputs
