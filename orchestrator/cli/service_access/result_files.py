"""Files that commands write results to: checked before a job is paid for, in the format of their name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from comfy_instances.log_text import error_text
from orchestrator.cli.terminal.console import CliError, print_warning
from orchestrator.files.private_files import write_output_file

IMAGE_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_STREAMS = (".mp4", ".webm")
#: Names of the files that models of a type make.
FILE_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": tuple(IMAGE_FORMATS),
    "upscale": tuple(IMAGE_FORMATS),
    "video": _STREAMS,
    "i2v": _STREAMS,
    "audio": (".flac", ".mp3", ".ogg", ".opus", ".wav"),
    "3d": (".glb",),
    "text": (".txt", ".md", ".json"),
    "trainer": (".safetensors",),
}
#: Names of content types that are not their second part.
EXTENSIONS = {
    "image/jpeg": ".jpg",
    "text/plain": ".txt",
    "model/gltf-binary": ".glb",
    "application/octet-stream": ".safetensors",
    "audio/mpeg": ".mp3",
}


@dataclass(frozen=True, slots=True)
class ResultTarget:
    """Where results are written, and the format that images are written in."""

    #: A file, a directory, or None for the working directory.
    path: Path | None
    #: `png`, `jpeg` or `webp`; None for the format of the result.
    image_format: str | None = None
    #: JPEG or WebP quality; None for the usual one.
    quality: int | None = None

    def name_file(self, job_id: str, index: int | None, content_type: str) -> Path:
        """Return the file for a result; `index` is None for the only one of a job."""
        own = EXTENSIONS.get(content_type, f".{content_type.partition('/')[2]}")
        if self.path is None or self.path.is_dir():
            file = (self.path or Path()) / f"{job_id}{own}"
        else:
            file = self._with_true_name(self.path, own)
        return file if index is None else file.with_stem(f"{file.stem}-{index + 1}")

    def _with_true_name(self, file: Path, own: str) -> Path:
        """Return the file, with the name of the result's format where its own one says another."""
        claimed = file.suffix.lower()
        claims_other = claimed != own and claimed in {name for names in FILE_NAMES.values() for name in names}
        if not claims_other or IMAGE_FORMATS.get(claimed) == IMAGE_FORMATS.get(own, ""):
            return file
        print_warning(f"the result is a {own[1:]} file and is written to {file.with_suffix(own)}")
        return file.with_suffix(own)


def check_target(path: Path | None) -> None:
    """Raise CliError if no results can be written there. Nothing is written."""
    folder = Path() if path is None else path if path.is_dir() else path.parent
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist; create it first"
        raise CliError(f"{path} cannot be written: the directory {folder} {reason}")
    is_file = path is not None and path.exists() and not path.is_dir()
    if is_file and path is not None and not os.access(path, os.W_OK):
        raise CliError(f"{path} cannot be written: permission denied")
    if not is_file and not os.access(folder, os.W_OK | os.X_OK):
        raise CliError(f"the directory {folder.absolute()} cannot be written to; choose another with -o")


def choose_target(
    path: Path | None, model_id: str, model_type: str, params: Mapping[str, Any]
) -> ResultTarget:
    """Return the target with the format that its name and the parameters ask for.

    Raises CliError for a name of a format that the model does not make.
    """
    asked = params.get("output_format")
    quality = params.get("output_compression")
    suffix = "" if path is None or path.is_dir() else path.suffix.lower()
    names = FILE_NAMES.get(model_type, ())
    if suffix and names and suffix not in names:
        raise CliError(
            f"model {model_id} makes no {suffix} files ({path}); name the file *{', *'.join(names)}"
        )
    named = IMAGE_FORMATS.get(suffix) if names == tuple(IMAGE_FORMATS) else None
    if asked is not None and named is not None and asked != named:
        raise CliError(f"-p output_format={asked} contradicts the name {path}; omit one of them")
    image_format = named or (asked if isinstance(asked, str) else None)
    return ResultTarget(path, image_format, quality if isinstance(quality, int) else None)


async def save_results(job: Mapping[str, Any], target: ResultTarget) -> list[Path]:
    """Download the results of a job and return their files. Raises CliError, which says how to get them."""
    try:
        return await _download_all(job, target)
    except (aiohttp.ClientError, CliError, OSError, TimeoutError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error_text(error)
        raise CliError(
            f"job {job['jobId']} has completed, but its results were not saved: {reason}; get them with"
            f" `pixelfactory jobs download {job['jobId']}`"
        ) from error


async def _download_all(job: Mapping[str, Any], target: ResultTarget) -> list[Path]:
    files, assets = [], job["assets"]
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    async with aiohttp.ClientSession(timeout=timeout) as http:  # without the key: the URLs need none
        for index, asset in enumerate(assets):
            data, content_type = await _download(http, asset["url"])
            data, content_type = await asyncio.to_thread(_convert, data, content_type, target)
            file = target.name_file(job["jobId"], index if len(assets) > 1 else None, content_type)
            write_output_file(file, data)
            files.append(file)
    return files


async def _download(http: aiohttp.ClientSession, url: str) -> tuple[bytes, str]:
    async with http.get(url) as response:
        if response.status != 200:
            raise CliError(f"the download failed with status {response.status}")
        return await response.read(), response.content_type


def _convert(data: bytes, content_type: str, target: ResultTarget) -> tuple[bytes, str]:
    """Return a result in the format of the target, as the service converts images that it sends."""
    if target.image_format is None or not content_type.startswith("image/"):
        return data, content_type
    # Imported only here: most results have their format already.
    from orchestrator.media.errors import MediaError
    from orchestrator.media.formats import ImageEncoding

    encoding = ImageEncoding(f"image/{target.image_format}", target.quality)
    if encoding.keeps(content_type):
        return data, content_type
    try:
        return encoding.encode(data), encoding.content_type
    except MediaError as error:
        print_warning(f"the result stays {content_type}: {error}")
        return data, content_type
