"""The text of generation parameters that the web UI writes into its PNGs, and reads from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import invalid_field
from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.images import open_image
from orchestrator.media.marks.metadata import make_png_chunk
from orchestrator.media.sniffing import detect_content_type

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of the signature and of the first chunk, IHDR.
_HEADER_BYTES = 33
_FIELD = re.compile(r'\s*([\w /+-]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
#: Longest text that is read.
MAX_TEXT = 64 * 1024


def write_infotext(params: Mapping[str, Any], *, seed: object, model: str, size: tuple[int, int]) -> str:
    """Return the text for an image: prompt, negative prompt, and the rest in one line."""
    lines = [str(params.get("prompt") or "")]
    if params.get("negative_prompt"):
        lines.append(f"Negative prompt: {params['negative_prompt']}")
    fields = {
        "Steps": params.get("steps"),
        "CFG scale": params.get("cfg_scale"),
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": model,
        "Denoising strength": params.get("strength"),
    }
    lines.append(", ".join(f"{name}: {value}" for name, value in fields.items() if value is not None))
    return "\n".join(lines)


def add_infotext(data: bytes, text: str) -> bytes:
    """Return a PNG with the text as its `parameters`; other files unchanged. The pixels stay as they are."""
    if not data.startswith(_SIGNATURE) or len(data) < _HEADER_BYTES:
        return data
    chunk = make_png_chunk(b"iTXt", b"parameters\0\0\0\0\0" + text.encode("utf-8", "replace"))
    return data[:_HEADER_BYTES] + chunk + data[_HEADER_BYTES:]


def read_texts(data: bytes) -> dict[str, str]:
    """Return the texts of an image file. CPU-bound. Raises InvalidRequest for a file that is none."""
    try:
        with open_image(data, detect_content_type(data) or "an unknown format") as image:
            found = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
    except (CorruptMedia, ImageTooLarge) as error:
        raise invalid_field("image", "must be an image in base64") from error
    return {name: value[:MAX_TEXT] for name, value in found.items()}


def parse_infotext(text: str) -> dict[str, Any]:
    """Return the parameters of a text by name, `Prompt` and `Negative prompt` among them."""
    *lines, last = text.strip().split("\n")
    fields = dict(_FIELD.findall(last))
    if len(fields) < 2:
        lines, fields = [*lines, last], {}
    head = "\n".join(lines)
    prompt, separator, negative = head.partition("Negative prompt: ")
    found: dict[str, Any] = {"Prompt": prompt.strip()} if head or separator else {}
    if separator:
        found["Negative prompt"] = negative.strip()
    return found | {name.strip(): value.strip() for name, value in fields.items()}
