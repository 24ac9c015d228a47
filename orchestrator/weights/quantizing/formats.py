"""The tensors by which ComfyUI's loader recognises a quantized layer, and their types and shapes.

    LAYER.weight           the packed or shortened numbers
    LAYER.weight_scale     one scale per block (nvfp4: 16, mxfp8: 32), or one for the matrix (fp8)
    LAYER.weight_scale_2   nvfp4 only: the scale of the scales, one number
    LAYER.input_scale      optional: the scale of the layer's input, from recorded activations
    LAYER.pre_quant_scale  optional, nvfp4 only: factors of the input's columns that the matrix was divided by
    LAYER.comfy_quant      bytes of JSON: {"format": "nvfp4"}

Scales of blocks are in the order of the tensor cores: tiles of 128 rows and 4 blocks, padded with zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

WEIGHT = ".weight"
WEIGHT_SCALE, WEIGHT_SCALE_2 = ".weight_scale", ".weight_scale_2"
INPUT_SCALE, PRE_QUANT_SCALE = ".input_scale", ".pre_quant_scale"
COMFY_QUANT = ".comfy_quant"
#: Names that only files of quantized layers have; the last two are those of older files.
QUANTIZED_SUFFIXES = (COMFY_QUANT, WEIGHT_SCALE, WEIGHT_SCALE_2, ".scale_weight", "scaled_fp8")
#: Metadata in which older files and some publishers list the layers and their formats.
QUANTIZATION_METADATA = "_quantization_metadata"
#: Metadata of our files: format, recipe, and digests of the layers' scales in the order of their names.
OWN_METADATA = "pixelfactory_quantization"
#: Hexadecimal digits of the digest of a layer's scales.
DIGEST_DIGITS = 16
#: Tiles of block scales in the order of the tensor cores.
TILE_ROWS, TILE_BLOCKS = 128, 4

_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Type and shape of a tensor in a file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return _BYTES[self.dtype] * prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedFormat:
    """One format: how the numbers of a matrix are stored."""

    #: Name in manifests and on the command line.
    name: str
    #: Name in `comfy_quant`.
    comfy_name: str
    #: Values that share a scale along a row; 0: the whole matrix does.
    block: int
    #: Numbers in a byte.
    values_per_byte: int
    #: Both sides of a matrix must be multiples of it.
    side_multiple: int
    #: Type of the block scales in the file.
    scale_dtype: str
    #: Whether ComfyUI uses an `input_scale` of this format.
    has_input_scale: bool
    #: Compute capability from which the tensor cores multiply numbers of this format.
    capability: str

    @property
    def quantized_dtype(self) -> str:
        """Type of `weight` in the file."""
        return "U8" if self.values_per_byte > 1 else "F8_E4M3"

    def weight(self, rows: int, columns: int) -> TensorSpec:
        """Return the type and shape of `LAYER.weight`."""
        return TensorSpec(self.quantized_dtype, (rows, columns // self.values_per_byte))

    def columns(self, stored: int) -> int:
        """Return the columns of the matrix whose `weight` stores `stored` of them."""
        return stored * self.values_per_byte

    def weight_scale(self, rows: int, columns: int) -> TensorSpec:
        """Return the type and shape of `LAYER.weight_scale`."""
        if not self.block:
            return TensorSpec("F32", ())
        padded = (_round_up(rows, TILE_ROWS), _round_up(columns // self.block, TILE_BLOCKS))
        return TensorSpec(self.scale_dtype, padded)

    @property
    def comfy_quant(self) -> bytes:
        """The bytes of `LAYER.comfy_quant`."""
        return json.dumps({"format": self.comfy_name}).encode()


NVFP4 = QuantizedFormat(
    name="nvfp4",
    comfy_name="nvfp4",
    block=16,
    values_per_byte=2,
    side_multiple=16,
    scale_dtype="F8_E4M3",
    has_input_scale=True,
    capability="10.0",
)
MXFP8 = QuantizedFormat(
    name="mxfp8",
    comfy_name="mxfp8",
    block=32,
    values_per_byte=1,
    side_multiple=32,
    # E8M0: ComfyUI reads the bytes as such.
    scale_dtype="U8",
    has_input_scale=False,
    capability="10.0",
)
FP8 = QuantizedFormat(
    name="fp8",
    comfy_name="float8_e4m3fn",
    block=0,
    values_per_byte=1,
    side_multiple=16,
    scale_dtype="F32",
    has_input_scale=True,
    capability="8.9",
)
#: By their names.
FORMATS = {known.name: known for known in (NVFP4, MXFP8, FP8)}
FORMATS_BY_COMFY_NAME = {known.comfy_name: known for known in FORMATS.values()}


def layer_tensors(kind: QuantizedFormat, rows: int, columns: int) -> Iterator[tuple[str, TensorSpec]]:
    """Yield suffix and spec of the tensors that every layer of a format has, `comfy_quant` excepted."""
    yield WEIGHT, kind.weight(rows, columns)
    yield WEIGHT_SCALE, kind.weight_scale(rows, columns)
    if kind is NVFP4:
        yield WEIGHT_SCALE_2, TensorSpec("F32", ())


def _round_up(value: int, multiple: int) -> int:
    return ceil(value / multiple) * multiple
