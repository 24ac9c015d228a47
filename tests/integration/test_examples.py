"""Every program in `examples/`, run as its reader would run it, against a simulated service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_instances.process.child import find_free_port
from tests.support.images import size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = {
    "openai/image": ("lighthouse.png",),
    "openai/video": ("waves.mp4",),
    "pixel_factory/submit_and_poll": ("video.mp4",),
    "pixelapi/generate": ("output.png",),
    "pixeldojo/run": ("output.png",),
    "pixazo/generate": ("dog.png", "city.png"),
    "replicate/predict": ("output.webp",),
    "fal/run": ("output.png",),
    "a1111/draw": ("output.png",),
    "huggingface/text_to_image": ("output.png",),
}
IMAGE_SIZES = {
    "lighthouse.png": (1344, 768),
    "dog.png": (512, 512),
    "city.png": (1024, 768),
}
RECEIVERS = ("webhooks/receiver.py", "webhooks/receiver.mjs")


def existing(suffix: str) -> list[str]:
    return [name for name in PROGRAMS if (EXAMPLES / f"{name}{suffix}").exists()]


def run_example(service: ServiceProcess, key: str, directory: Path, *command: str, **environment: str) -> str:
    """Run a program in `directory` and return what it prints."""
    service_environment = {"PIXELFACTORY_URL": service.url, "PIXELFACTORY_API_KEY": key}
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **service_environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_files(name: str, directory: Path, printed: str) -> None:
    for file in PROGRAMS[name]:
        assert f"saved {file}" in printed
        data = (directory / file).read_bytes()
        if file.endswith(".mp4"):
            assert film(data).frames == 33
        else:
            size = size_of(data)
            assert size == IMAGE_SIZES.get(file, size)


@pytest.mark.parametrize("name", first_always(existing(".py"), always=2))
def test_python_example_saves_its_results(
    service: ServiceProcess, key: str, tmp_path: Path, name: str
) -> None:
    printed = run_example(service, key, tmp_path, sys.executable, str(EXAMPLES / f"{name}.py"))
    check_files(name, tmp_path, printed)


@pytest.mark.parametrize("name", first_always(existing(".mjs")))
def test_node_example_saves_its_results(
    service: ServiceProcess, key: str, node_project: Path, tmp_path: Path, name: str
) -> None:
    # Node.js looks for packages beside the program.
    program = node_project / f"{name.replace('/', '-')}.mjs"
    shutil.copy(EXAMPLES / f"{name}.mjs", program)
    check_files(name, tmp_path, run_example(service, key, tmp_path, "node", str(program)))


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
@pytest.mark.parametrize("name", first_always(existing(".sh"), always=3))
def test_curl_example_saves_its_results(service: ServiceProcess, key: str, tmp_path: Path, name: str) -> None:
    printed = run_example(service, key, tmp_path, "sh", str(EXAMPLES / f"{name}.sh"))
    check_files(name, tmp_path, printed)


@pytest.mark.parametrize("name", first_always(RECEIVERS))
def test_webhook_receiver_accepts_a_signed_message(bank: ServiceProcess, tmp_path: Path, name: str) -> None:
    program = EXAMPLES / name
    interpreter = sys.executable if program.suffix == ".py" else shutil.which("node")
    if interpreter is None:
        pytest.skip("needs Node.js (Debian: apt install nodejs)")
    printed = run_example(
        bank, bank.key("1.00"), tmp_path, interpreter, str(program), PORT=str(find_free_port())
    )
    assert printed == "job.succeeded completed\n"


def test_every_program_is_run_and_listed() -> None:
    programs = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".mjs", ".sh") and "node_modules" not in path.parts
    }
    run = {f"{name}{suffix}" for suffix in (".py", ".mjs", ".sh") for name in existing(suffix)}
    assert programs == run | set(RECEIVERS)
    text = (EXAMPLES / "README.md").read_text()
    assert [program for program in programs if f"`{program}`" not in text] == []
