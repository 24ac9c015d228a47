"""Starts the whole service, asks it for three things through the official OpenAI SDK, and keeps serving.

Its instances are simulated unless PIXELFACTORY_INSTANCES names running ComfyUI servers: a first try must
not need 24 GB of weights.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI
from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_DIR = ROOT / "demo-output"
PIXELFACTORY_COMMAND = Path(sys.executable).with_name("pixelfactory")
PORT = 8080
READY_SECONDS = 60.0
STOP_SECONDS = 40.0

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the outputs")
    arguments = parser.parse_args()
    OUTPUT_DIR.mkdir(exist_ok=True)
    os.environ.setdefault("PIXELFACTORY_DATA_DIR", str(OUTPUT_DIR / "service"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begun = time.monotonic()
    with run_service() as url:
        console.print(f"service ready after {time.monotonic() - begun:.1f} s at {url}")
        if "PIXELFACTORY_INSTANCES" not in os.environ:
            console.print(
                "[yellow]Instances are SIMULATED: the pictures show parameters, not models.[/yellow]"
            )
        run_examples(url, begun)
        if arguments.once:
            return 0
        console.print(f"\nDashboard: {url}/   (Ctrl-C stops)")
        wait_for_ctrl_c()
    return 0


def run_examples(url: str, begun: float) -> None:
    """One image, one video, one upscale; says what each cost and how long it took."""
    created = run_cli("keys", "create", "--name", "demo", "--credit", "5", "--json")
    client = OpenAI(base_url=f"{url}/api/v1", api_key=created["key"], max_retries=0)

    image = generate_and_save(
        client, "image.png", model="flux-1-schnell", prompt="A lighthouse at dusk, oil painting"
    )
    console.print(f"first image written {time.monotonic() - begun:.1f} s after the start")
    generate_and_save(
        client,
        "video.mp4",
        model="wan2.1-t2v-fast",
        prompt="Waves breaking on a rocky shore, cinematic",
        extra_body={"num_frames": 33, "fps": 16},
    )
    generate_and_save(
        client,
        "upscaled.png",
        model="4x-ultrasharp",
        prompt="",
        extra_body={"image": downscale_to_base64(image)},
    )
    left = run_cli("wallet", "show", created["id"], "--json")
    console.print(f"wallet: {left['balance_usd']} USD left of 5")


def generate_and_save(client: OpenAI, name: str, **request: Any) -> bytes:
    started = time.monotonic()
    response = client.images.generate(**request)
    seconds = time.monotonic() - started
    data = base64.b64decode(response.data[0].b64_json)
    (OUTPUT_DIR / name).write_bytes(data)
    usage: Any = response.usage
    cost = f"{usage.cost_cents:g} cents"
    console.print(
        f"{request['model']:16} {cost:>10}  {seconds:5.2f} s  demo-output/{name}  {len(data):,} bytes"
    )
    return data


def downscale_to_base64(image: bytes) -> str:
    """The picture at 320x320, in base64: something to enlarge."""
    picture = Image.open(io.BytesIO(image)).resize((320, 320))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def run_cli(*arguments: str) -> Any:
    done = subprocess.run([PIXELFACTORY_COMMAND, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@contextmanager
def run_service() -> Iterator[str]:
    """The address of a service of our own, which stops at the end."""
    port = choose_port()
    simulate = [] if "PIXELFACTORY_INSTANCES" in os.environ else ["--simulate", "2"]
    log = OUTPUT_DIR / "service.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [PIXELFACTORY_COMMAND, "up", "--port", str(port), *simulate],
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, log)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the service ended at once; its log is {log}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"the service was not ready after {READY_SECONDS:g} s; its log is {log}")


def choose_port() -> int:
    """8080, or any other port where that is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    sys.exit("no port is free")


def wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    sys.exit(main())
