"""Read what is to be quantized: one safetensors file, or a folder of shards with its index.

A folder has one `*.safetensors.index.json`, as diffusers and transformers write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.media.tensors import TensorInfo
from orchestrator.weights.errors import BadWeightFile
from orchestrator.weights.file_checks import read_safetensors_header
from orchestrator.weights.quantizing.formats import QUANTIZATION_METADATA, QUANTIZED_SUFFIXES

INDEX_SUFFIX = ".safetensors.index.json"
#: What comes before the names of the denoiser's tensors in a checkpoint.
DENOISER_PREFIX = "model.diffusion_model."
#: Largest index file that is read.
MAX_INDEX_BYTES = 50_000_000
#: Names that only diffusers gives, of networks whose quantized layers ComfyUI reads under other names.
_DIFFUSERS_NAMES = {
    "single_transformer_blocks.0.attn.to_q.weight": "FLUX.1",
    "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight": "FLUX.2",
    "blocks.0.attn1.to_q.weight": "Wan",
    "transformer_blocks.0.norm1_context.linear.weight": "Stable Diffusion 3.5",
}


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor and the file that has it."""

    file: Path
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class WeightSource:
    """All tensors of a source, by name, in the order of their files."""

    files: tuple[Path, ...]
    tensors: Mapping[str, SourceTensor]
    metadata: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def open_source(path: Path, parts: Path | None = None) -> WeightSource:
    """Read the headers of a file or a folder of shards.

    `parts` is a checkpoint with the other networks that the source lacks, such as text encoders, in any type.
    Raises BadWeightFile for what is no safetensors file, incomplete, or quantized already; OSError.
    """
    index = _find_index(path)
    source = _read_files([path]) if index is None else _read_shards(index)
    _check_not_quantized(path, source)
    for name, network in _DIFFUSERS_NAMES.items():
        if name in source.tensors:
            raise BadWeightFile(
                f"SOURCE {path} has the tensor names that diffusers gives to {network}; ComfyUI reads"
                " quantized layers under its own names only: use the single file that is published for it"
            )
    return source if parts is None else _add_parts(source, parts)


def _add_parts(source: WeightSource, parts: Path) -> WeightSource:
    """Add the tensors of a checkpoint that the source lacks, those of its denoiser excepted."""
    other = _read_files([parts])
    added = {
        name: tensor
        for name, tensor in other.tensors.items()
        if name not in source.tensors and not name.startswith(DENOISER_PREFIX)
    }
    if not added or not any(name.startswith(DENOISER_PREFIX) for name in source.tensors):
        raise BadWeightFile(
            f"--parts {parts} has nothing that SOURCE lacks, or SOURCE is no checkpoint: both must have the"
            f" denoiser's tensors below {DENOISER_PREFIX}"
        )
    return WeightSource((*source.files, parts), {**source.tensors, **added}, source.metadata)


def _find_index(path: Path) -> Path | None:
    """Return the index of a folder of shards, or None if `path` is to be read as one file."""
    if not path.is_dir():
        return path if path.name.endswith(INDEX_SUFFIX) else None
    found = sorted(path.glob(f"*{INDEX_SUFFIX}"))
    if len(found) != 1:
        inner = [f"{path / name}" for name in ("transformer", "text_encoder") if (path / name).is_dir()]
        way_out = f"name {' or '.join(inner)}" if inner else "name a .safetensors file"
        raise BadWeightFile(
            f"SOURCE {path} is a folder with {len(found)} files *{INDEX_SUFFIX}, and must have one: {way_out}"
        )
    return found[0]


def _read_files(files: list[Path]) -> WeightSource:
    tensors: dict[str, SourceTensor] = {}
    metadata: dict[str, str] = {}
    for file in files:
        try:
            header = read_safetensors_header(file)
        except BadWeightFile as error:
            raise BadWeightFile(
                f"SOURCE {file}: {error}; it must be a complete safetensors file of 16 or 32 bits"
            ) from error
        if doubled := tensors.keys() & header.tensors.keys():
            raise BadWeightFile(f"SOURCE {file}: another shard has the tensor {min(doubled)!r}, too")
        tensors |= {name: SourceTensor(file, info) for name, info in header.tensors.items()}
        metadata |= header.metadata
    return WeightSource(tuple(files), tensors, metadata)


def _read_shards(index: Path) -> WeightSource:
    """Read the shards that an index names. They must have exactly the tensors that it names."""
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise BadWeightFile(f"SOURCE {index} has more than {MAX_INDEX_BYTES} bytes: it is no index of shards")
    try:
        shard_by_name: Any = json.loads(index.read_text("utf-8"))["weight_map"]
        shards = sorted({str(shard) for shard in shard_by_name.values()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadWeightFile(f"SOURCE {index} has no `weight_map` from tensors to files") from error
    for shard in shards:
        if len(PurePosixPath(shard).parts) != 1 or not (index.parent / shard).is_file():
            raise BadWeightFile(f"SOURCE {index} names the shard {shard!r}, which is not in its folder")
    source = _read_files([index.parent / shard for shard in shards])
    if missing := sorted(shard_by_name.keys() - source.tensors.keys()):
        raise BadWeightFile(f"SOURCE {index} names the tensor {missing[0]!r}, which no shard has")
    return source


def _check_not_quantized(path: Path, source: WeightSource) -> None:
    """Raise BadWeightFile if the source is quantized, or lost its precision to fp8, already."""
    found = next((name for name in source.tensors if name.endswith(QUANTIZED_SUFFIXES)), None)
    if found is None and QUANTIZATION_METADATA in source.metadata:
        found = f"its metadata {QUANTIZATION_METADATA}"
    if found is None:
        found = next((name for name, one in source.tensors.items() if one.info.dtype.startswith("F8")), None)
    if found:
        raise BadWeightFile(
            f"SOURCE {path} is already quantized (it has {found}): quantize the file of 16 or 32 bits"
            " that it was made from"
        )
