"""`pixelfactory weights` as its users type it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import command
from tests.support.drafts import node, saving, write
from tests.support.polling import wait_until_sync
from tests.support.service import COMMAND
from tests.support.weight_files import safetensors, weight
from tests.support.weight_host import hosting, partly

DATA = safetensors({"blocks.0.lin.weight": ("BF16", [512, 1024])})
FILE = "diffusion_models/small.safetensors"


def world(tmp_path: Path, **changes: Any) -> dict[str, str]:
    """Settings for a directory with one model that needs one file."""
    row = weight(DATA, **changes).model_dump(mode="json", exclude={"tensors"})
    loader = node("UNETLoader", unet_name="{{ weights.unet }}", weight_dtype="default")
    write(tmp_path / "models" / "draft", saving(unet=loader), weights=[row])
    return {
        "PIXELFACTORY_WORKFLOWS_DIR": str(tmp_path / "models"),
        "PIXELFACTORY_MODELS_DIR": str(tmp_path / "weights"),
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    }


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, while our server goes on."""
    done = await asyncio.to_thread(partial(command, *arguments, **environment))
    return done.returncode, done.stdout, done.stderr


async def test_from_plan_to_proof(tmp_path: Path) -> None:
    settings = world(tmp_path)
    _, out, _ = await run("weights", "plan", "--profile", "ada", "--json", **settings)
    view = json.loads(out)
    assert (view["profile"], view["bytes"], view["missing_bytes"]) == ("ada", len(DATA), len(DATA))
    assert [(file["path"], file["state"], file["models"]) for file in view["files"]] == [
        (FILE, "missing", ["draft"])
    ]
    async with hosting(DATA) as host:
        settings["HF_ENDPOINT"] = host.server.url
        code, _, err = await run("weights", "pull", "draft", HF_TOKEN="hf_secret", **settings)
        assert (code, "hf_secret" in err) == (0, False)
        assert "Bearer hf_secret" in host.server.requests[0]
        await run("weights", "pull", "draft", **settings)
        assert len(host.server.requests) == 1, "what is there is not fetched again"
    file = tmp_path / "weights" / FILE
    assert file.read_bytes() == DATA
    code, out, _ = await run("weights", "verify", "draft", "--json", **settings)
    assert (code, json.loads(out)) == (0, {"checked": [FILE], "problems": {}, "unproven": []})
    file.write_bytes(DATA[:-2] + b"xx")
    code, _, err = await run("weights", "verify", **settings)
    assert code == 1
    assert f"error: {FILE}: it is damaged or another file" in err.replace("\n", " ")
    assert (await run("weights", "verify", "--quick", **settings))[0] == 0


@pytest.mark.slow
async def test_a_killed_download_goes_on(tmp_path: Path) -> None:
    settings = world(tmp_path)
    async with hosting(DATA, partly(300_000, pause=60)) as host:
        settings["HF_ENDPOINT"] = host.server.url
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            "weights",
            "pull",
            "draft",
            env={**os.environ, **settings},
            stderr=asyncio.subprocess.DEVNULL,
        )
        part = tmp_path / "weights" / f"{FILE}.part"
        await asyncio.to_thread(_wait, part, 300_000)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        code, _, _ = await run("weights", "pull", "--all", **settings)
        assert code == 0
        assert host.ranges == [0, 300_000]
    assert (tmp_path / "weights" / FILE).read_bytes() == DATA
    assert not part.exists()


def _wait(file: Path, size: int) -> None:
    """Until the file has grown so far."""
    wait_until_sync(lambda: file.exists() and file.stat().st_size >= size)


async def test_failures_are_one_clear_line_each(tmp_path: Path) -> None:
    settings = world(tmp_path)
    async with hosting(DATA[:-1]) as host:
        code, _, err = await run("weights", "pull", "draft", HF_ENDPOINT=host.server.url, **settings)
    assert (code, "has another file" in err, "Traceback" in err) == (1, True, False)
    async with hosting(DATA) as host:
        guarded = settings | {"PIXELFACTORY_ALLOW_PRIVATE_URLS": "false", "HF_ENDPOINT": host.server.url}
        code, _, err = await run("weights", "pull", "draft", **guarded)
        assert (code, "not a public address" in err, host.server.requests) == (1, True, [])
    code, _, err = await run("weights", "verify", "draft", **settings)
    assert (code, f"{FILE}: missing" in err) == (1, True)
    assert (await run("weights", "pull", **settings))[0] == 2
    for arguments, words in (
        (("plan", "nothing"), "'nothing' does not exist"),
        (("plan", "--profile", "toaster"), "unknown GPU profile 'toaster'; use one of blackwell-96gb"),
    ):
        code, _, err = await run("weights", *arguments, **settings)
        assert (code, words in err) == (1, True), err


async def test_nothing_is_fetched_that_would_not_fit(tmp_path: Path) -> None:
    settings = world(tmp_path, sha256="", bytes=10**17)
    async with hosting(DATA) as host:
        code, _, err = await run("weights", "pull", "draft", HF_ENDPOINT=host.server.url, **settings)
        assert (code, "GB are to be downloaded" in err, host.server.requests) == (1, True, [])


async def test_a_file_of_unknown_hash_is_called_so_until_its_first_download(tmp_path: Path) -> None:
    settings = world(tmp_path, sha256="")
    code, out, _ = await run("weights", "plan", **settings)
    assert (code, f"{FILE} has no known SHA-256" in out) == (0, True)
    by_hand = tmp_path / "weights" / FILE
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(DATA)
    code, out, err = await run("weights", "verify", "--json", **settings)
    assert (code, json.loads(out)["unproven"]) == (0, [FILE])
    assert "its SHA-256 is unknown" in err
    by_hand.unlink()
    async with hosting(DATA) as host:
        assert (await run("weights", "pull", "draft", HF_ENDPOINT=host.server.url, **settings))[0] == 0
    code, out, _ = await run("weights", "verify", "--json", **settings)
    assert (code, json.loads(out)["unproven"]) == (0, [])
    by_hand.write_bytes(DATA[:-2] + b"xx")
    assert (await run("weights", "verify", **settings))[0] == 1


def test_quantizing_names_what_is_wrong_and_the_way_out(tmp_path: Path) -> None:
    source, target = tmp_path / "wide.safetensors", tmp_path / "narrow.safetensors"
    source.write_bytes(DATA)
    (tmp_path / "there.safetensors").write_bytes(b"")
    for arguments, words in (
        ((source, source), "TARGET must be another file than SOURCE"),
        ((source, tmp_path / "narrow.gguf"), "TARGET must be a .safetensors file"),
        (
            (source, tmp_path / "there.safetensors"),
            "exists: name another file, or replace it with --overwrite",
        ),
        ((source, target, "--format", "fp4"), "--format must be one of nvfp4, mxfp8, fp8 (got 'fp4')"),
        ((source, target, "--smooth"), "--smooth needs the recorded activations"),
        ((source, target, "--report", tmp_path), "--report must be a file"),
        ((source, target, "--report", target), "--report must be another file than SOURCE and TARGET"),
    ):
        done = command("weights", "quantize", *map(str, arguments))
        assert (done.returncode, words in " ".join(done.stderr.split())) == (1, True), done.stderr
    nowhere = {"PIXELFACTORY_COMFYUI_DIR": str(tmp_path / "none")}
    done = command("weights", "quantize", str(source), str(target), **nowhere)
    assert (done.returncode, "pixelfactory comfyui install" in done.stderr) == (1, True), done.stderr
    assert not target.exists()


def test_lists_the_recipes_with_reasons_and_errors() -> None:
    rows = json.loads(command("weights", "recipes", "--json").stdout)
    flux = next(row for row in rows if row["architecture"] == "flux")
    assert {rule["store"] for rule in flux["rules"]} == {"16bit", "fp8"}
    assert "first 1: the first block" in " ".join(command("weights", "recipes").stdout.split())
