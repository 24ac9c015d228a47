"""Measures the memory of the service when idle, before and after it has made images.

    .venv/bin/python -m scripts.bench.idle [--quick]

It reports `pixelfactory up` itself and, separately, its S3 server and instances, which are processes of their
own. RSS counts shared pages in full, PSS by each process's share. The reference is a process of the same
Python that serves one empty page with aiohttp.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from scripts.bench.report import save_results
from scripts.child_servers import create_api_key, run_bench_service

#: Idle seconds before memory is read.
SETTLE_SECONDS = 3.0
REFERENCE_SERVER = """
from aiohttp import web
app = web.Application()
app.router.add_get("/", lambda request: web.Response())
web.run_app(app, host="127.0.0.1", port=0, print=lambda *_: print("ready", flush=True))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="make 20 images instead of 500")
    quick = parser.parse_args().quick
    images = 20 if quick else 500
    result: dict[str, Any] = {"empty aiohttp server": measure_reference()}
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "service"
        with run_bench_service(data, "--simulate", "2") as served:
            time.sleep(SETTLE_SECONDS)
            process = psutil.Process(served.pid)
            result["service"] = read_memory(process)
            result |= {process_name(child): read_memory(child) for child in process.children(recursive=True)}
            generate_images(served.url, create_api_key(data), images)
            time.sleep(SETTLE_SECONDS)
            result[f"service after {images} images"] = read_memory(process)
    for name, found in result.items():
        print(f"{name:28} RSS {found['rss_mb']:6.1f} MB  PSS {found['pss_mb']:6.1f} MB")
    if not quick:
        save_results("idle", result)


def measure_reference() -> dict[str, float]:
    with subprocess.Popen([sys.executable, "-c", REFERENCE_SERVER], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = read_memory(psutil.Process(child.pid))
        child.terminate()
    return found


def read_memory(process: psutil.Process) -> dict[str, float]:
    """Return RSS and PSS in MB (10^6 bytes)."""
    found = process.memory_full_info()
    return {"rss_mb": round(found.rss / 1e6, 1), "pss_mb": round(found.pss / 1e6, 1)}


def process_name(child: psutil.Process) -> str:
    """Return the role of a child of the service. Children with the same role share one row."""
    line = " ".join(child.cmdline())
    return "simulated instance" if "simulator" in line else f"S3 server ({child.name()})"


def generate_images(url: str, key: str, count: int) -> None:
    """Make `count` images one after the other, returned inside the response."""
    for number in range(count):
        body = {"model": "flux-1-schnell", "prompt": "a lighthouse", "size": "512x512", "seed": number}
        request = urllib.request.Request(
            f"{url}/api/v1/images/generations",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()


if __name__ == "__main__":
    main()
