"""Read one input of a request as the service does, and print the outcome and the memory that it took.

A program: `python -m tests.support.input_memory MODEL PARAM FILE [MASK]`. The files hold what a request holds
in the field: bytes of an upload, or text (`.txt`). Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.catalog.library import load_model
from orchestrator.errors import InvalidRequest
from orchestrator.intake.input_reader import InputReader
from orchestrator.intake.input_slots import InputOwner, InputPurpose
from orchestrator.media.datasets import DatasetLimits
from orchestrator.media.input_images import ImageLimits
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


def main() -> None:
    model_id, param, *files = sys.argv[1:]
    names = [param, "mask"]
    raw: dict[str, Any] = {
        name: Path(file).read_text() if file.endswith(".txt") else Path(file).read_bytes()
        for name, file in zip(names, files, strict=False)
    }
    # What every request takes: threads, decoders, and the modules that they import.
    asyncio.run(read_inputs("4x-ultrasharp", {"image": png(64, 64)}))
    before = peak_bytes()
    outcome = asyncio.run(read_inputs(model_id, raw))
    print(json.dumps(outcome | {"grown": peak_bytes() - before}))


if __name__ == "__main__":
    main()
