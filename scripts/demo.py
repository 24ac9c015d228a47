"""Starts the whole service, makes an image, a video and an upscale with the OpenAI SDK, and keeps serving.

The instances are simulated unless PIXELFACTORY_INSTANCES lists running ComfyUI servers, so that a first try
needs no model weights.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from openai import OpenAI
from PIL import Image
from rich.console import Console

from scripts.child_servers import PIXELFACTORY_COMMAND, run_cli, run_service

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_DIR = ROOT / "demo-output"
PREFERRED_PORT = 8080

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the outputs")
    arguments = parser.parse_args()
    OUTPUT_DIR.mkdir(exist_ok=True)
    os.environ.setdefault("PIXELFACTORY_DATA_DIR", str(OUTPUT_DIR / "service"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started_at = time.monotonic()
    simulate = [] if "PIXELFACTORY_INSTANCES" in os.environ else ["--simulate", "2"]
    log = OUTPUT_DIR / "service.log"
    with run_service(*simulate, log=log, preferred_port=PREFERRED_PORT) as service:
        console.print(f"service ready after {time.monotonic() - started_at:.1f} s at {service.url}")
        if simulate:
            console.print("[yellow]Instances are SIMULATED: the images show parameters, not models.[/yellow]")
        key = run_examples(service.url, started_at)
        if arguments.once:
            return 0
        print_ways_in(service.url, key)
        wait_for_ctrl_c()
    return 0


def print_ways_in(url: str, key: str) -> None:
    """Print how to sign in, and commands that work in any directory while the demo runs."""
    data_dir = os.environ["PIXELFACTORY_DATA_DIR"]
    exports = {
        "PIXELFACTORY_URL": url,
        "PIXELFACTORY_API_KEY": key,
        "PIXELFACTORY_DATA_DIR": str(Path(data_dir).absolute()),
    }
    lines = [
        "",
        f"Sign in:         {url}/sign-in#key={key}",
        f"API key:         {key}",
        f"Data directory:  {exports['PIXELFACTORY_DATA_DIR']} (operators sign in with its admin-token)",
        "",
        "Try, in another terminal:",
        f"  export PATH={shlex.quote(str(PIXELFACTORY_COMMAND.parent))}:$PATH",
        *(f"  export {name}={shlex.quote(value)}" for name, value in exports.items()),
        "  pixelfactory generate flux-1-schnell 'A red fox in the snow' -o fox.png",
        "  pixelfactory jobs list",
        "  pixelfactory instances list",
        "",
        "Ctrl-C stops the service.",
    ]
    for line in lines:
        # Not wrapped: links and commands are copied.
        console.print(line, markup=False, soft_wrap=True)


def run_examples(url: str, started_at: float) -> str:
    """Make an image, a video and an upscale, print the cost and the time of each, and return the key."""
    created = run_cli("keys", "create", "--name", "demo", "--credit", "5", "--json")
    client = OpenAI(base_url=f"{url}/api/v1", api_key=created["key"], max_retries=0)

    image = generate_and_save(
        client, "image.png", model="flux-1-schnell", prompt="A lighthouse at dusk, oil painting"
    )
    console.print(f"first image written {time.monotonic() - started_at:.1f} s after the start")
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
    return str(created["key"])


def generate_and_save(client: OpenAI, name: str, **request: Any) -> bytes:
    """Send one request, save its output as `name` and return it."""
    started = time.monotonic()
    response = client.images.generate(**request)
    seconds = time.monotonic() - started
    data = base64.b64decode(response.data[0].b64_json)
    (OUTPUT_DIR / name).write_bytes(data)
    usage: Any = response.usage
    cost = f"{usage.cost_cents:g} cent{'s' * (usage.cost_cents != 1)}"
    console.print(
        f"{request['model']:16} {cost:>10}  {seconds:5.2f} s  demo-output/{name}  {len(data):,} bytes"
    )
    return data


def downscale_to_base64(image: bytes) -> str:
    """Return the image at 320x320 as base64, as the input of the upscale."""
    small = Image.open(io.BytesIO(image)).resize((320, 320))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    sys.exit(main())
