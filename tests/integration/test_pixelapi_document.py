"""Every code example of PixelAPI's document, unchanged but for host and key.

They lie in `tests/documents/pixelapi`, byte for byte: the document's own dashes are broken there too.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp

from tests.support.callers import new_key, run_program
from tests.support.images import size_of
from tests.support.polling import poll
from tests.support.service import ServiceProcess

EXAMPLES = Path(__file__).parent.parent / "documents" / "pixelapi"


def example(name: str, service: ServiceProcess, key: str) -> str:
    text = (EXAMPLES / f"{name}.txt").read_text()
    for placeholder in ("YOUR_API_KEY", "your_api_key"):
        text = text.replace(placeholder, key)
    return text.replace("https://api.pixelapi.dev", service.url)


async def shell(directory: Path, script: str) -> dict[str, object]:
    """Return the JSON that a curl command prints."""
    return dict(json.loads(await run_program(directory, "sh", "-c", script.replace("curl ", "curl -sS ", 1))))


async def test_runs_the_scripts(offering: ServiceProcess, tmp_path: Path) -> None:
    """They run concurrently, because each of them sleeps for seconds."""
    async with asyncio.TaskGroup() as group:
        for script in (complete_sample_script, python_example, node_example):
            directory = tmp_path / script.__name__
            directory.mkdir()
            group.create_task(script(offering, directory))


async def complete_sample_script(service: ServiceProcess, directory: Path) -> None:
    (directory / "generate.py").write_text(example("generate.py", service, new_key(service, "1.00")))
    printed = await run_program(directory, sys.executable, "generate.py")
    assert "1000.0 credits remaining" in printed
    assert "done!" in printed
    assert size_of((directory / "output.png").read_bytes()) == (1024, 1024)


async def python_example(service: ServiceProcess, directory: Path) -> None:
    printed = await run_program(
        directory, sys.executable, "-c", example("python.py", service, new_key(service))
    )
    assert size_of(await download(printed.partition("Done! ")[2].strip())) == (1024, 1024)


async def node_example(service: ServiceProcess, directory: Path) -> None:
    (directory / "example.mjs").write_text(example("node.js", service, new_key(service)))
    printed = await run_program(directory, "node", "example.mjs")
    assert size_of(await download(printed.strip())) == (1024, 1024)


async def test_runs_the_curl_examples(offering: ServiceProcess, tmp_path: Path) -> None:
    key = new_key(offering)
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
    return await poll(
        lambda: shell(directory, script), lambda seen: seen["status"] not in ("queued", "processing")
    )


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()
