"""Read inputs of requests as the service does, and print the outcome of each and the memory that it took.

A program: `python -m tests.support.input_memory CASES`. CASES is a JSON file with a list of objects with
`model`, `param` and `files`; the second file is a mask. A file holds what a request holds in the field: the
bytes of an upload, or a text (`.txt`). Each case is read in a fork of its own, whose largest resident set
begins with what all of them have in common. Prints one JSON document per line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from orchestrator.catalog.library import load_model
from orchestrator.errors import InvalidRequest
from orchestrator.intake.input_reader import InputReader
from orchestrator.intake.input_slots import InputOwner, InputPurpose
from orchestrator.media.inputs.datasets import DatasetLimits
from orchestrator.media.inputs.input_images import ImageLimits
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from tests.support.images import png

WORKFLOWS = Path(__file__).resolve().parent.parent.parent / "workflows"
MIB = 2**20


def peak_bytes() -> int:
    """Return the largest resident set of this process so far. `ru_maxrss` would include the parent's."""
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in text)
    return int(line.split()[1]) * 1024


async def read_inputs(model_id: str, raw_params: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of reading the files of a request to a shipped model."""
    image_limits = ImageLimits(max_bytes=50 * MIB, max_pixels=64_000_000)
    model = load_model(WORKFLOWS / model_id)
    async with UrlFetcher(FetchPolicy()) as fetcher:
        reader = InputReader(
            image_limits=image_limits,
            dataset_limits=DatasetLimits(max_images=2000, image_limits=image_limits),
            url_fetcher=fetcher,
            dataset_timeout_seconds=10,
        )
        try:
            files = await reader.read_inputs(
                InputOwner("acct_a", InputPurpose.JOB), model, dict.fromkeys(raw_params, "given"), raw_params
            )
        except InvalidRequest as error:
            return {"code": error.code, "message": error.message}
    return {"code": None, "message": f"{len(files.files_by_key)} files"}


def read_case(case: dict[str, Any]) -> None:
    """Read one input and print the outcome."""
    raw: dict[str, Any] = {
        name: Path(file).read_text() if file.endswith(".txt") else Path(file).read_bytes()
        for name, file in zip((case["param"], "mask"), case["files"], strict=False)
    }
    # What every request takes: threads and decoders.
    asyncio.run(read_inputs("4x-ultrasharp", {"image": png(64, 64)}))
    before = peak_bytes()
    outcome = asyncio.run(read_inputs(case["model"], raw))
    print(json.dumps(outcome | {"grown": peak_bytes() - before}), flush=True)


def main() -> None:
    for case in json.loads(Path(sys.argv[1]).read_text()):
        child = os.fork()
        if child == 0:
            try:
                read_case(case)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"reading {case} failed")


if __name__ == "__main__":
    main()
