"""Weights on the nodes of a cluster: by digest, once per node, from the bucket or the hub."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.protocol.errors import InstanceGone
from orchestrator.app.ray_fleet import WantedNodeWeights
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings
from orchestrator.storage.object_store import ObjectStore, S3Config
from orchestrator.weights.errors import BadWeightFile, WeightError
from orchestrator.weights.node_weights import (
    NodeWeight,
    list_wanted_weights,
    mirror_key,
    mirror_weights,
    pull_node_weights,
)
from tests.support.s3_server import S3Server
from tests.support.weight_files import safetensors, weight
from tests.support.weight_host import hosting
from tests.unit.weights.test_weight_plans import model

DATA = safetensors({"blocks.0.lin.weight": ("BF16", [300, 500]), "norm": ("F32", [8])})
OTHER = safetensors({"blocks.0.lin.weight": ("BF16", [300, 500]), "mono": ("F32", [8])})
PATH = "diffusion_models/small.safetensors"
DIGEST = hashlib.sha256(DATA).hexdigest()


def row(url: str, mirror_url: str = "", **changes: Any) -> dict[str, Any]:
    found = weight(DATA, url=url, **changes).model_dump(mode="json")
    return {**found, "digest": changes.get("sha256", DIGEST), "mirror_url": mirror_url}


async def pull(directory: Path, *rows: dict[str, Any]) -> dict[str, int]:
    complete: dict[str, int] = {}
    await pull_node_weights(directory, rows, complete.__setitem__)
    return complete


async def test_pulls_a_file_once_and_verifies_its_digest(tmp_path: Path) -> None:
    async with hosting(DATA) as host:
        wanted = row(host.server.url + "/f")
        assert await pull(tmp_path, wanted) == {PATH: len(DATA)}
        assert await pull(tmp_path, wanted) == {PATH: len(DATA)}
        assert len(host.server.requests) == 1
    assert (tmp_path / PATH).read_bytes() == DATA
    assert (tmp_path / PATH).samefile(tmp_path / ".blobs" / DIGEST)


async def test_a_file_of_another_digest_is_no_file(tmp_path: Path) -> None:
    async with hosting(OTHER) as host:
        with pytest.raises(WeightError, match="SHA-256"):
            await pull(tmp_path, row(host.server.url + "/f"))
    assert not (tmp_path / PATH).exists()


async def test_a_file_of_the_same_size_and_other_content_is_replaced(tmp_path: Path) -> None:
    """As a new version of a model has: the same layers, other numbers."""
    other = DATA[:-1] + b"\x01"
    async with hosting(other) as host:
        await pull(tmp_path, row(host.server.url + "/f", sha256=hashlib.sha256(other).hexdigest()))
    async with hosting(DATA) as host:
        await pull(tmp_path, row(host.server.url + "/f"))
    assert (tmp_path / PATH).read_bytes() == DATA


async def test_takes_a_file_that_is_there_already_once_it_is_verified(tmp_path: Path) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(DATA)
    assert await pull(tmp_path, row("http://127.0.0.1:1/absent")) == {PATH: len(DATA)}


@pytest.mark.slow
async def test_processes_of_a_node_pull_a_file_together_once(tmp_path: Path) -> None:
    program = (
        "import asyncio, json, pathlib, sys; from orchestrator.weights.node_weights import pull_node_weights;"
        "asyncio.run(pull_node_weights(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), print))"
    )
    async with hosting(DATA) as host:
        wanted = json.dumps([row(host.server.url + "/f")])
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), wanted)
            for _ in range(3)
        ]
        assert [await process.wait() for process in processes] == [0, 0, 0]
        assert len(host.server.requests) == 1


async def test_one_file_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    async with hosting(DATA) as host:
        lost = row("", path="vae/lost.safetensors", sha256="0" * 64)
        with pytest.raises(WeightError, match=r"vae/lost\.safetensors has no URL"):
            await pull(tmp_path, lost, row(host.server.url + "/f"))
    assert (tmp_path / PATH).read_bytes() == DATA


async def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="GB free"):
        await pull(tmp_path, row("http://127.0.0.1:1/f", bytes=10**16))


async def test_nodes_pull_from_the_bucket_what_was_mirrored(s3: S3Server, tmp_path: Path) -> None:
    """And from the hub what was not."""
    here, node = tmp_path / "here", tmp_path / "node"
    (here / PATH).parent.mkdir(parents=True)
    (here / PATH).write_bytes(DATA)
    reported = list[tuple[str, bool]]()
    async with ObjectStore(s3.access("mirror")) as store, hosting(DATA) as host:
        await store.ensure_bucket()
        files = [weight(DATA, url=host.server.url + "/f")]
        for _ in range(2):
            await mirror_weights(files, here, store, lambda one, new: reported.append((one.path, new)))
        assert reported == [(PATH, True), (PATH, False)]
        [wanted] = list_wanted_weights(
            [model(weight(DATA, url=host.server.url + "/f"))],
            (),
            here,
            lambda key: store.presign(key, 60),
        )
        assert mirror_key(DIGEST) in wanted["mirror_url"]
        assert await pull(node, wanted) == {PATH: len(DATA)}
        assert host.server.requests == []
        await store.delete(mirror_key(DIGEST))
        assert await pull(tmp_path / "second", wanted) == {PATH: len(DATA)}
        assert len(host.server.requests) == 1


async def test_a_damaged_file_is_not_mirrored(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(OTHER)
    async with ObjectStore(s3.access("damaged")) as store:
        await store.ensure_bucket()
        with pytest.raises(BadWeightFile, match="pull it again"):
            await mirror_weights([weight(DATA)], tmp_path, store, lambda one, new: None)
        assert not await store.has(mirror_key(hashlib.sha256(OTHER).hexdigest()), len(OTHER))


async def test_the_service_lists_what_its_models_need_and_keeps_the_list_while_one_is_broken(
    tmp_path: Path,
) -> None:
    workflows = tmp_path / "workflows"
    shutil.copytree(SHIPPED_WORKFLOWS_DIR / "sd-1.5", workflows / "sd-1.5")
    values = {"data_dir": tmp_path, "models_dir": tmp_path / "models", "workflows_dir": workflows}
    settings = Settings.load(ray_models="sd-1.5", ray_weights_mirror=True, **values)
    bucket = S3Config(endpoint="http://s3.example", access_key="a", secret_key="b", bucket="weights")
    wanted = WantedNodeWeights(settings, LiveCatalog(workflows, lambda model: None))
    asking = asyncio.create_task(wanted.list_files(None))
    await asyncio.sleep(0.05)
    assert not asking.done()  # until there is a bucket
    async with ObjectStore(bucket) as store:
        wanted.open(store)
        files = await asking
    assert files
    for row in files:
        assert NodeWeight(row).weight.path == row["path"]
        assert (
            not row["digest"]
            or f"http://s3.example/weights/weights/{row['digest'][:2]}/" in row["mirror_url"]
        )
    assert await wanted.list_files(None) is files

    broken = Settings.load(ray_models="no-such-model", **values)
    without = WantedNodeWeights(broken, LiveCatalog(workflows, lambda model: None))
    async with ObjectStore(bucket) as store:
        without.open(store)
        with pytest.raises(InstanceGone, match="no-such-model"):
            await without.list_files(None)
