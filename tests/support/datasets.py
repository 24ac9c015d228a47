"""Archives of pictures and captions, as people make them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from safetensors.numpy import load

from tests.support.images import png

#: Three pictures of three shapes, in a folder; one of them has no caption.
PETS: Mapping[str, bytes] = {
    "pets/cat.png": png(64, 64),
    "pets/cat.txt": b"a cat on a mat",
    "pets/dog.PNG": png(96, 64),
    "pets/dog.txt": b"\xef\xbb\xbfa dog in the fog\n",
    "pets/fox.png": png(64, 128),
}


def zipped(files: Mapping[str, bytes] = PETS, compression: int = ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def data_url(data: bytes, content_type: str = "application/zip") -> str:
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def is_trained(lora: bytes) -> bool:
    """Whether a LoRA's numbers are all right, and those that begin at zero did not all stay there."""
    tensors = load(lora)
    ups = [array for name, array in tensors.items() if name.endswith("lora_up.weight")]
    finite = all(np.isfinite(array).all() for array in tensors.values())
    return finite and bool(ups) and any(array.any() for array in ups)
