"""A node pack for a real ComfyUI that holds or breaks the encoders of our pack while a file exists."""

from __future__ import annotations

from pathlib import Path

#: Loaded after our pack: ComfyUI loads packs by name.
FOLDER = "zz_encoder_hold"
_SOURCE = """
import sys, time
from pathlib import Path

HOLD, CRASH = Path({hold!r}), Path({crash!r})

def wrapped(encode):
    def hold(*given):
        while HOLD.exists():
            time.sleep(0.02)
        if CRASH.exists():
            CRASH.unlink()
            raise SystemError("the encoder crashed")
        return encode(*given)
    return hold

for name, module in list(sys.modules.items()):
    if name.endswith("pixel_factory.delivery.nodes"):
        module.encode_image = wrapped(module.encode_image)
NODE_CLASS_MAPPINGS = {{}}
"""


class EncoderHold:
    """Files whose existence has an effect."""

    def __init__(self, base: Path) -> None:
        """Add the pack to a ComfyUI that has not started yet."""
        self.hold = base / "hold-encoders"
        self.crash = base / "crash-an-encoder"
        folder = base / "custom_nodes" / FOLDER
        folder.mkdir()
        source = _SOURCE.format(hold=str(self.hold), crash=str(self.crash))
        (folder / "__init__.py").write_text(source)
