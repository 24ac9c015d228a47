"""Every code example of PixelAPI's document, unchanged but for host and key.

They lie in `tests/documents/pixelapi`, byte for byte: the document's own dashes are broken there too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp

from tests.pictures import size_of
from tests.running import Service

EXAMPLES = Path(__file__).parent.parent / "documents" / "pixelapi"


def example(name: str, service: Service, key: str) -> str:
    text = (EXAMPLES / f"{name}.txt").read_text()
    for placeholder in ("YOUR_API_KEY", "your_api_key"):
        text = text.replace(placeholder, key)
    return text.replace("https://api.pixelapi.dev", service.url)


async def run(directory: Path, *command: str) -> str:
    """What a program prints."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode() + out.decode()
    return out.decode()


async def shell(directory: Path, script: str) -> dict[str, object]:
    """The answer to a curl command that prints nothing else."""
    return dict(json.loads(await run(directory, "sh", "-c", script.replace("curl ", "curl -sS ", 1))))


async def test_the_complete_sample_script(offering: Service, tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_text(example("generate.py", offering, offering.key("1.00")))
    printed = await run(tmp_path, sys.executable, "generate.py")
    assert "OK" in printed
    assert "1000.0 credits remaining" in printed
    assert "done!" in printed
    assert size_of((tmp_path / "output.png").read_bytes()) == (1024, 1024)


async def test_the_python_example(offering: Service, tmp_path: Path) -> None:
    printed = await run(tmp_path, sys.executable, "-c", example("python.py", offering, offering.key()))
    assert size_of(await download(printed.partition("Done! ")[2].strip())) == (1024, 1024)


async def test_the_node_example(offering: Service, tmp_path: Path) -> None:
    (tmp_path / "example.mjs").write_text(example("node.js", offering, offering.key()))
    printed = await run(tmp_path, "node", "example.mjs")
    assert size_of(await download(printed.strip())) == (1024, 1024)


async def test_the_curl_examples(offering: Service, tmp_path: Path) -> None:
    key = offering.key()
    submitted = await shell(tmp_path, example("quickstart_submit.sh", offering, key))
    assert set(submitted) == {"generation_id", "status", "model", "credits_used"}
    assert (submitted["status"], submitted["model"], submitted["credits_used"]) == ("queued", "sdxl", 1.0)
    poll = example("quickstart_poll.sh", offering, key)
    seen = await until_finished(tmp_path, poll.replace("GENERATION_ID", str(submitted["generation_id"])))
    assert seen["status"] == "completed"
    assert size_of(await download(str(seen["output_url"]))) == (1024, 1024)

    generate, _, check = example("curl.sh", offering, key).partition("\n\n")
    submitted = await shell(tmp_path, generate)
    assert (submitted["model"], submitted["credits_used"]) == ("flux-schnell", 3.0)
    check = check.replace("GENERATION_ID", str(submitted["generation_id"]), 2)
    assert (await until_finished(tmp_path, check))["status"] == "completed"


async def until_finished(directory: Path, script: str) -> dict[str, object]:
    async with asyncio.timeout(30):
        while (seen := await shell(directory, script))["status"] in ("queued", "processing"):
            await asyncio.sleep(0.1)
    return seen


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()
