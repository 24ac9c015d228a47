"""LoRAs that are uploaded to an instance and used at once: the real ComfyUI and the simulator alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from comfy_instances.protocol.errors import BadGraph, InstanceError
from comfy_instances.protocol.lora_files import uploaded_lora_name
from comfy_instances.session.session import InstanceSession
from tests.support.comfyui_server import ComfyUIServer, installed_comfyui, real_comfyui, simulator

#: A real ComfyUI of its own takes a minute to start.
REAL = pytest.param("real", marks=(pytest.mark.comfyui, pytest.mark.slow))


@pytest.fixture(scope="module", params=["simulator", REAL])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyUIServer]:
    base, folder = tmp_path_factory.mktemp("instance"), installed_comfyui()
    if request.param == "real" and folder is None:
        pytest.skip("no ComfyUI is installed (pixelfactory comfyui install)")
    with real_comfyui(folder, base) if request.param == "real" and folder else simulator(base) as server:
        yield server


@pytest.fixture
async def session(server: ComfyUIServer) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(server.url) as session:
        await session.wait_connected(30)
        yield session


def make_lora(number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a file without a tensor that fits any model."""
    header = json.dumps({f"layer.{number}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    return uploaded_lora_name(sha256(data).hexdigest()), data


def graph_with(name: str) -> dict[str, Any]:
    """Return a graph that names a LoRA and then lacks a model, so that nothing of it can run."""
    loader = {"lora_name": f"{name}.safetensors", "strength_model": 1.0, "model": ["model", 0]}
    return {
        "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "no-file", "weight_dtype": "default"}},
        "lora": {"class_type": "LoraLoaderModelOnly", "inputs": loader},
        "save": {"class_type": "ModelSave", "inputs": {"model": ["lora", 0], "filename_prefix": "saved"}},
    }


async def refused_inputs(session: InstanceSession, name: str) -> set[str]:
    """Return the nodes of the graph that the instance refuses."""
    with pytest.raises(BadGraph) as refused:
        await session.run_prompt(str(uuid4()), graph_with(name))
    return set(refused.value.node_errors)


async def test_an_uploaded_lora_is_listed_and_accepted_at_once(session: InstanceSession) -> None:
    (first, data), (second, other) = make_lora(1), make_lora(2)
    assert await refused_inputs(session, first) == {"model", "lora"}
    for name, content in ((first, data), (second, other)):
        assert not await session.has_lora(name, len(content))
        await session.upload_lora(name, content)
        assert await session.has_lora(name, len(content))
        assert await refused_inputs(session, name) == {"model"}
    assert set(await session.list_uploaded_loras()) >= {first, second}
    facts = await session.get_object_info()
    assert f"{first}.safetensors" in facts["LoraLoader"]["input"]["required"]["lora_name"][0]


async def test_an_incomplete_file_is_replaced(session: InstanceSession, server: ComfyUIServer) -> None:
    name, data = make_lora(3)
    await session.upload_lora(name, data)
    (file,) = server.base.glob(f"output/loras/{name}*")
    file.write_bytes(data[:9])
    assert not await session.has_lora(name, len(data))
    await session.upload_lora(name, data)
    assert file.read_bytes() == data
    assert len(list(server.base.glob(f"output/loras/{name}*"))) == 1


@pytest.mark.parametrize(
    ("header", "metadata"),
    [
        (
            {"__metadata__": {"ss_base_model_version": "sdxl_base_v1-0"}},
            {"ss_base_model_version": "sdxl_base_v1-0"},
        ),
        ({}, {}),
        ({"padding": "." * 2**20, "__metadata__": {"ss_base_model_version": "flux1"}}, {}),
    ],
    ids=["metadata", "none", "a header over 1 MiB"],
)
async def test_metadata_of_a_lora_is_read(
    session: InstanceSession, server: ComfyUIServer, header: dict[str, Any], metadata: dict[str, Any]
) -> None:
    text = json.dumps(header).encode()
    folder = server.base / "output" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "described.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert await session.get_lora_metadata("described") == metadata
    assert await session.get_lora_metadata("absent") == {}


async def test_a_file_that_is_no_lora_has_no_readable_metadata(
    session: InstanceSession, server: ComfyUIServer
) -> None:
    folder = server.base / "output" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.safetensors").write_bytes(bytes(8))
    with pytest.raises(InstanceError, match="500"):
        await session.get_lora_metadata("broken")


async def test_a_file_that_is_too_large_is_refused(session: InstanceSession) -> None:
    """Servers of others have ComfyUI's own limit of 100 MB."""
    with pytest.raises(BadGraph, match="max-upload-size"):
        await session.upload_lora(uploaded_lora_name("0" * 64), bytes(101 * 2**20))
