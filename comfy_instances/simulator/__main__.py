"""Run one simulated ComfyUI instance: `python -m comfy_instances.simulator --port PORT`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from comfy_instances.log_text import EscapingFormatter
from comfy_instances.simulator.options import InstanceFolders, SimulatorOptions
from comfy_instances.simulator.printed_log import PROCESS_LOG
from comfy_instances.simulator.server.application import create_app

log = logging.getLogger(__name__)


def parse_options(arguments: list[str]) -> SimulatorOptions:
    parser = argparse.ArgumentParser(prog="python -m comfy_instances.simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0: any free port, printed in the log")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--time-scale", type=float, default=0.0, help="factor on simulated times")
    parser.add_argument("--vram-gb", type=float, default=96.0, help="simulated GPU memory in GiB")
    parser.add_argument("--base-directory", type=Path, help="default: a new temporary folder")
    parser.add_argument("--models-directory", type=Path, help="further folder with model files, to list")
    parser.add_argument("--preview-method", choices=["auto", "none"], default="auto")
    parser.add_argument("--no-delivery", action="store_true", help="without results by our node pack")
    given = parser.parse_args(arguments)
    return SimulatorOptions(
        port=given.port,
        host=given.host,
        time_scale=given.time_scale,
        vram_bytes=int(given.vram_gb * 1024**3),
        folders=InstanceFolders(
            (given.base_directory or _make_scratch_directory()).absolute(), given.models_directory
        ),
        preview_method=given.preview_method,
        delivers=not given.no_delivery,
    )


def _make_scratch_directory() -> Path:
    """Return a new folder that other users of the machine can neither know beforehand nor read."""
    return Path(tempfile.mkdtemp(prefix="pixelfactory-simulator-"))


async def serve(options: SimulatorOptions) -> None:
    """Serve until cancelled. Raises OSError if the port is taken."""
    runner = web.AppRunner(create_app(options), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        log.info("simulated instance on http://%s:%d", options.host, runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """Run the server. SIGINT stops it cleanly; SIGTERM kills it at once, as it does a real ComfyUI."""
    # What the imports made stays until the end: the garbage collector need not visit it at every start.
    gc.freeze()
    # No node multiplies large matrices. NumPy's threads for that would spin for 0.1 s when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.stdout, sys.stderr = PROCESS_LOG.record(sys.stdout), PROCESS_LOG.record(sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EscapingFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        asyncio.run(serve(parse_options(sys.argv[1:])))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        log.error("cannot start: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
