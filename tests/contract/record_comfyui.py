"""Record what a real ComfyUI does in every scenario: `python -m tests.contract.record_comfyui`.

The recording is what the simulator is held to where no ComfyUI is installed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.contract.conformance_scenarios import SCENARIOS, play
from tests.support.comfyui_server import installed_comfyui, real_comfyui

RECORDING = Path(__file__).parent / "recorded" / "comfyui-0.33.0.json"


async def record(url: str) -> dict[str, Any]:
    return {name: await play(name, url) for name in SCENARIOS}


def main() -> int:
    folder = installed_comfyui()
    if folder is None:
        print("no ComfyUI is installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as base, real_comfyui(folder, Path(base)) as server:
        recording = asyncio.run(record(server.url))
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(json.dumps(recording, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
