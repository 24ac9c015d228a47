"""What the header of a LoRA file says about the models that the LoRA was trained for.

Trainers write it in their own words: `modelspec.architecture` is from Stability AI's ModelSpec
(https://github.com/Stability-AI/ModelSpec), `ss_base_model_version` from kohya's sd-scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Keys of the header, the first one that is known decides.
_KEYS = ("modelspec.architecture", "ss_base_model_version")
#: Beginnings or parts of a value, without punctuation, and the architectures that such a LoRA fits. The first
#: row that matches counts.
_FITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sdxl|stablediffusionxl", ("sdxl",)),
    ("^sdv?1|^stablediffusionv?1", ("sd15",)),
    ("^sdv?2|^stablediffusionv?2", ("sd2",)),
    ("^sd3|^stablediffusionv?3", ("sd3",)),
    ("flux2klein.*4b", ("flux2-klein-4b",)),
    ("flux2klein.*9b", ("flux2-klein-9b",)),
    ("flux2klein", ("flux2-klein-4b", "flux2-klein-9b")),
    ("flux2", ("flux2",)),
    ("flux", ("flux",)),
    ("qwenimage", ("qwen-image",)),
    ("zimage", ("z-image",)),
    ("ernieimage", ("ernie-image",)),
    ("hidream", ("hidream",)),
    # LoRAs of either version are used with both, which have the same layers.
    ("wan22", ("wan2.2", "wan2.1")),
    ("wan", ("wan2.1", "wan2.2")),
    ("hunyuanvideo", ("hunyuan-video",)),
    ("ltx", ("ltx2",)),
)


def architectures_of_lora(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the base architectures that a LoRA fits, the likeliest first; empty if its header tells none."""
    for key in _KEYS:
        value = re.sub("[^a-z0-9]", "", str(metadata.get(key, "")).lower())
        for pattern, architectures in _FITS:
            if re.search(pattern, value):
                return architectures
    return ()
