"""Quantizes matrices: a program of its own, because it needs torch and comfy-kitchen.

    PYTHON worker.py PLAN     with the Python of ComfyUI's environment, or any that has both packages

PLAN is a JSON file, which `running.py` writes:

    part        the file to write into, from `data_start` on; what is before it is not touched
    journal     a file with one JSON line per finished operation, by which an interrupted run is continued
    fingerprint says what the journal belongs to
    operations  in file order: {"copy": [FILE, START, END]} or {"layer": NAME, "format": ..., "file": ...,
                "start": ..., "end": ..., "dtype": ..., "rows": ..., "columns": ..., "amax": [...], ...}
    tail        what comes last: {"layer": NAME, "suffix": ".weight_scale_2"} or {"hex": BYTES}

It prints one JSON line per operation: {"read": BYTES}, and at the end {"done": true}, {"refused": REASON} for
a source that cannot be quantized, or {"failed": REASON}. It ends when its standard input is closed, so that
it does not outlive the program that started it. No module of the orchestrator is imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: Largest numbers of the formats.
E4M3_MAX, E2M1_MAX = 448.0, 6.0
#: Bytes of the source that are in memory at a time, and rows to which a piece is rounded: a tile of scales.
PIECE_BYTES, TILE_ROWS = 8 * 2**20, 128
#: Recorded inputs may be exceeded by this factor before a static scale clips them; it costs no precision.
INPUT_MARGIN = 1.5
#: Exponents of the activations in factors of columns that are tried, and rows on which they are compared.
SMOOTHING_EXPONENTS, SMOOTHING_ROWS = (0.0, 0.25, 0.5, 0.75), 512
#: Least gain for which factors of columns are stored: they cost a multiplication of each input.
MIN_SMOOTHING_GAIN = 0.05
TORCH_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Refused(Exception):
    """The source cannot be quantized; the message says why."""


class Quantizer:
    """Writes the operations of one plan."""

    def __init__(self, torch: Any, kitchen: Any) -> None:
        self._torch = torch
        self._kitchen = kitchen
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def write(self, operation: dict[str, Any], part: BinaryIO) -> dict[str, Any]:
        """Write one operation at the position of `part`, and return what the journal keeps of it."""
        if "copy" in operation:
            file, start, end = operation["copy"]
            with open(file, "rb") as source:  # noqa: PTH123 (plain paths from JSON)
                for data in read_pieces(source, start, end, PIECE_BYTES):
                    part.write(data)
            return {"read": end - start}
        with open(operation["file"], "rb") as source:  # noqa: PTH123
            matrix = Matrix(self._torch, source, operation, self._device)
            result = self._write_layer(matrix, operation, part)
        return {**result, "layer": operation["layer"], "read": operation["end"] - operation["start"]}

    def _write_layer(self, matrix: Matrix, operation: dict[str, Any], part: BinaryIO) -> dict[str, Any]:
        """Quantize a matrix; returns its scales, the digest of them, and its error."""
        torch = self._torch
        columns_amax = matrix.columns_amax()
        if not bool(torch.isfinite(columns_amax).all()):
            raise Refused(f"the layer {operation['layer']} contains infinity or NaN")
        factors = self._choose_factors(matrix, operation, columns_amax)
        if factors is not None:
            matrix.divide_columns(factors)
            columns_amax = columns_amax / factors
        kind = operation["format"]
        amax = float(columns_amax.max())
        scale = torch.tensor(self._matrix_scale(kind, amax), dtype=torch.float32, device=self._device)
        block_scales: list[bytes] = []
        error, weighted, norm, weighted_norm = 0.0, 0.0, 0.0, 0.0
        mean_square = matrix.tensor(operation.get("mean_square"))
        for piece in matrix.pieces():
            numbers, scales = self.quantize(kind, piece, scale)
            part.write(to_bytes(numbers))
            block_scales += [] if scales is None else [to_bytes(scales)]
            lost = (self.restore(kind, numbers, scales, scale) - piece).square()
            error, norm = error + float(lost.sum()), norm + float(piece.square().sum())
            if mean_square is not None:
                weights = mean_square if factors is None else mean_square * factors.square()
                weighted += float((lost * weights).sum())
                weighted_norm += float((piece.square() * weights).sum())
        values = {} if kind == "mxfp8" else {self._scale_name(kind): to_bytes(scale).hex()}
        for data in block_scales:
            part.write(data)
        digest = hashlib.sha256(b"".join(block_scales) + bytes.fromhex("".join(values.values())))
        values |= self._input_values(operation, factors)
        return {
            "values": values,
            "digest": digest.hexdigest()[:16],
            "error": relative(error, norm),
            "output_error": relative(weighted, weighted_norm) if mean_square is not None else None,
        }

    def quantize(self, kind: str, piece: Any, scale: Any) -> tuple[Any, Any]:
        """Return the numbers and, of formats with blocks, their scales in the tensor cores' order."""
        if kind == "nvfp4":
            numbers, scales = self._kitchen.quantize_nvfp4(piece, scale)
            return numbers, scales
        if kind == "mxfp8":
            numbers, scales = self._kitchen.quantize_mxfp8(piece)
            return numbers, scales
        numbers = (piece / scale).clamp(-E4M3_MAX, E4M3_MAX).to(self._torch.float8_e4m3fn)
        return numbers, None

    def restore(self, kind: str, numbers: Any, scales: Any, scale: Any) -> Any:
        """Return what a quantized piece stands for, in 32 bits."""
        wide = self._torch.float32
        if kind == "nvfp4":
            return self._kitchen.dequantize_nvfp4(numbers, scale, scales, wide)
        if kind == "mxfp8":
            return self._kitchen.dequantize_mxfp8(numbers, scales, wide)
        return numbers.to(wide) * scale

    @staticmethod
    def _matrix_scale(kind: str, amax: float) -> float:
        # A matrix of zeros would have the scale 0.
        return (amax / (E4M3_MAX * E2M1_MAX if kind == "nvfp4" else E4M3_MAX)) or 1.0

    @staticmethod
    def _scale_name(kind: str) -> str:
        return ".weight_scale_2" if kind == "nvfp4" else ".weight_scale"

    def _input_values(self, operation: dict[str, Any], factors: Any) -> dict[str, str]:
        """Return the bytes of `input_scale` and `pre_quant_scale` of a layer with recorded inputs."""
        if not operation.get("amax"):
            return {}
        amax = self._torch.tensor(operation["amax"], dtype=self._torch.float32, device=self._device)
        largest = float((amax if factors is None else amax * factors).max()) * INPUT_MARGIN
        scale = self._torch.tensor(self._matrix_scale(operation["format"], largest))
        values = {".input_scale": to_bytes(scale.float()).hex()}
        if operation.get("smooth"):
            ones = self._torch.ones_like(amax)
            values[".pre_quant_scale"] = to_bytes(ones if factors is None else factors).hex()
        return values

    def _choose_factors(self, matrix: Matrix, operation: dict[str, Any], columns_amax: Any) -> Any:
        """Return the factors of the input's columns that lose least on the recorded inputs; None for none.

        Columns with large inputs get larger numbers in the matrix, and so more precision.
        """
        if not operation.get("smooth") or not operation.get("amax"):
            return None
        torch = self._torch
        inputs = torch.tensor(operation["amax"], dtype=torch.float32, device=self._device).clamp(min=1e-5)
        mean_square = matrix.tensor(operation["mean_square"])
        sample = matrix.sample(SMOOTHING_ROWS)
        best, least, plain = None, float("inf"), 0.0
        for exponent in SMOOTHING_EXPONENTS:
            factors = columns_amax.clamp(min=1e-8) ** (1 - exponent) / inputs**exponent
            factors = factors / factors.log().mean().exp() if exponent else torch.ones_like(inputs)
            scaled = sample / factors
            scale = torch.tensor(self._matrix_scale("nvfp4", float(scaled.abs().max())), device=self._device)
            numbers, scales = self.quantize("nvfp4", scaled, scale)
            lost = (self.restore("nvfp4", numbers, scales, scale) * factors - sample).square()
            error = float((lost * mean_square).sum())
            plain = error if exponent == 0.0 else plain
            if error < least:
                best, least = factors, error
        return best if least < plain * (1 - MIN_SMOOTHING_GAIN) else None


class Matrix:
    """A matrix in a file, read in pieces of whole rows."""

    def __init__(self, torch: Any, source: BinaryIO, operation: dict[str, Any], device: str) -> None:
        self._torch = torch
        self._source = source
        self._operation = operation
        self._device = device
        self._dtype = getattr(torch, TORCH_DTYPES[operation["dtype"]])
        self._factors: Any = None

    def pieces(self) -> Iterator[Any]:
        """Yield the rows in 32 bits; all pieces but the last have a multiple of TILE_ROWS rows."""
        start, end, rows = (self._operation[name] for name in ("start", "end", "rows"))
        row_bytes = (end - start) // rows
        piece_rows = max(1, PIECE_BYTES // row_bytes // TILE_ROWS) * TILE_ROWS
        for data in read_pieces(self._source, start, end, piece_rows * row_bytes):
            numbers = self._torch.frombuffer(data, dtype=self._dtype).to(self._device)
            piece = numbers.to(self._torch.float32).reshape(-1, self._operation["columns"])
            yield piece if self._factors is None else piece / self._factors

    def columns_amax(self) -> Any:
        """Return the largest absolute value of each column; NaN if it has one."""
        largest = self._torch.zeros(self._operation["columns"], device=self._device)
        for piece in self.pieces():
            largest = self._torch.maximum(largest, piece.abs().amax(dim=0))
        return largest

    def divide_columns(self, factors: Any) -> None:
        """Divide the columns of all pieces from now on."""
        self._factors = factors

    def sample(self, count: int) -> Any:
        """Return up to `count` rows from all over the matrix, a multiple of 16."""
        step = max(1, self._operation["rows"] // count)
        rows = self._torch.cat([piece[::step] for piece in self.pieces()])
        return rows[: rows.shape[0] // 16 * 16]

    def tensor(self, values: Any) -> Any:
        """Return a list as a vector; None for none."""
        if not values:
            return None
        return self._torch.tensor(values, dtype=self._torch.float32, device=self._device)


def read_pieces(source: BinaryIO, start: int, end: int, size: int) -> Iterator[bytearray]:
    """Yield the bytes from `start` to `end`. Raises Refused if the file ends early."""
    for at in range(start, end, size):
        source.seek(at)
        wanted = min(size, end - at)
        data = bytearray(source.read(wanted))
        if len(data) < wanted:
            raise Refused("the source was truncated while it was read")
        yield data


def to_bytes(tensor: Any) -> bytes:
    """Return the bytes of a tensor of any type."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    uint8 = importlib.import_module("torch").uint8
    return bytes(flat.view(uint8).numpy().tobytes())


def relative(error: float, norm: float) -> float:
    """Return the norm of an error relative to what it is an error of, both as sums of squares."""
    return float((error / norm) ** 0.5) if norm else 0.0


def read_journal(journal: Path, fingerprint: str) -> list[dict[str, Any]]:
    """Return the finished operations of an earlier run of the same plan; a torn last line is dropped."""
    try:
        lines = journal.read_text("utf-8").splitlines(keepends=True)
    except OSError:
        return []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return rows[1:] if rows and rows[0] == {"fingerprint": fingerprint} else []


def run(plan: dict[str, Any], quantizer: Quantizer) -> None:
    """Write all operations that the journal does not have, and the tail."""
    journal = Path(plan["journal"])
    with open(plan["part"], "r+b") as part, journal.open("a", encoding="utf-8") as log:  # noqa: PTH123
        # A worker whose parent was killed may take a moment to end.
        fcntl.flock(log, fcntl.LOCK_EX)
        results = read_journal(journal, plan["fingerprint"])
        lines = [{"fingerprint": plan["fingerprint"]}, *results]
        log.truncate(0)
        log.write("".join(json.dumps(line) + "\n" for line in lines))
        log.flush()
        part.seek(results[-1]["at"] if results else plan["data_start"])
        part.truncate()
        report({"read": sum(result["read"] for result in results), "resumed": len(results)})
        for operation in plan["operations"][len(results) :]:
            result = quantizer.write(operation, part)
            part.flush()
            if "layer" in result:
                os.fdatasync(part.fileno())
            results.append({**result, "at": part.tell()})
            log.write(json.dumps(results[-1]) + "\n")
            log.flush()
            report({"read": result["read"]})
        values = {result["layer"]: result["values"] for result in results if "layer" in result}
        for item in plan["tail"]:
            part.write(bytes.fromhex(item["hex"] if "hex" in item else values[item["layer"]][item["suffix"]]))
        part.flush()
        os.fsync(part.fileno())


def report(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def exit_with_parent() -> None:
    """End this process once its standard input is closed."""
    sys.stdin.buffer.read()
    os._exit(3)


def main() -> int:
    threading.Thread(target=exit_with_parent, daemon=True).start()
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        torch = importlib.import_module("torch")
        kitchen = importlib.import_module("comfy_kitchen")
        # Kernels for graphics cards take no numbers of 32 bits; these give the same bytes on every device.
        with torch.inference_mode(), kitchen.use_backend("eager"):
            run(plan, Quantizer(torch, kitchen))
    except ImportError as error:
        report({"failed": f"{sys.executable} lacks a package: {error}"})
        return 1
    except OSError as error:
        report({"failed": str(error)})
        return 1
    except Refused as error:
        report({"refused": str(error)})
        return 1
    except Exception as error:
        # Uncaught, the end of its report would be about the thread that reads the standard input.
        traceback.print_exc()
        report({"failed": f"{type(error).__name__}: {error}"})
        return 1
    report({"done": True})
    return 0


if __name__ == "__main__":
    sys.exit(main())
