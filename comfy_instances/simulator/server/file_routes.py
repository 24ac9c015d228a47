"""Routes for files: `/view` and the uploads."""

from __future__ import annotations

import io
import json
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngImageFile, PngInfo

from comfy_instances.simulator.files import is_within, parse_annotated_name
from comfy_instances.simulator.options import InstanceFolders

#: Parts of media types that a browser might execute; such files are served for download only.
_SCRIPTABLE_TYPES = ("html", "javascript", "ecmascript", "css", "xml", "rfc822")


FormFields = Mapping[str, str | bytes | bytearray | web.FileField]


class FileRoutes:
    def __init__(self, folders: InstanceFolders) -> None:
        self._folders = folders

    async def view(self, request: web.Request) -> web.StreamResponse:
        """Serve a file with range and validator headers, or re-encoded for `preview` and `channel`."""
        path = self._resolve_file(request)
        if isinstance(path, int):
            return web.Response(status=path)
        name = path.name.replace("\\", "\\\\").replace('"', '\\"')
        disposition = {"Content-Disposition": f'filename="{name}"'}
        channel = request.query.get("channel", "")
        if "preview" in request.query:
            body, kind = _encode_preview(path, request.query["preview"], channel)
            return web.Response(body=body, content_type=kind, headers=disposition)
        if channel in ("rgb", "a"):
            return web.Response(
                body=_extract_channel(path, channel), content_type="image/png", headers=disposition
            )
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"X-Content-Type-Options": "nosniff"} | disposition
        if any(part in content_type for part in _SCRIPTABLE_TYPES):
            content_type = "application/octet-stream"
            headers["Content-Disposition"] = "attachment; " + headers["Content-Disposition"]
        return web.FileResponse(path, headers=headers | {"Content-Type": content_type})

    def _resolve_file(self, request: web.Request) -> Path | int:
        """Return the file that a request names, or an HTTP status if there is none."""
        if "filename" not in request.query:
            return 404
        name, kind = parse_annotated_name(request.query["filename"])
        folder = self._folders.folder_of_type(kind or request.query.get("type", "output"))
        if not name or name.startswith("/") or ".." in name or folder is None:
            return 400
        inner = folder / request.query.get("subfolder", "")
        if not is_within(folder, inner):
            return 403
        path = inner / Path(name).name
        return path if path.is_file() else 404

    async def upload_image(self, request: web.Request) -> web.Response:
        """Store a file; if another file has its name, store it as `name (1).png`."""
        post = await request.post()
        field = _uploaded_field(post)
        if isinstance(field, int):
            return web.Response(status=field)
        return self._store_upload(post, field.filename, field.file.read())

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Store a copy of an existing image with the alpha channel of the uploaded one."""
        post = await request.post()
        field = _uploaded_field(post)
        if isinstance(field, int):
            return web.Response(status=field)
        reference = json.loads(str(post.get("original_ref")))
        folder = self._folders.folder_of_type(reference.get("type", "output"))
        if folder is None or reference["filename"].startswith("/") or ".." in reference["filename"]:
            return web.Response(status=400)
        original = folder / reference.get("subfolder", "") / reference["filename"]
        if not is_within(folder, original):
            return web.Response(status=403)
        content = field.file.read()
        return self._store_upload(
            post, field.filename, _apply_alpha_mask(original, content) if original.is_file() else content
        )

    def _store_upload(self, form: FormFields, filename: str, content: bytes) -> web.Response:
        kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        folder = self._folders.folder_of_type(kind)
        if folder is None:
            return web.Response(status=500)
        target = folder / os.path.normpath(subfolder)
        if not is_within(folder, target / filename):
            return web.Response(status=400)
        target.mkdir(parents=True, exist_ok=True)
        path = target / filename
        if form.get("overwrite") not in ("true", "1"):
            path = _unused_path(path, content)
        path.write_bytes(content)
        return web.json_response({"name": path.name, "subfolder": subfolder, "type": kind})


def _uploaded_field(form: FormFields) -> web.FileField | int:
    """Return the uploaded file of the form, or an HTTP status if there is none."""
    field = form.get("image")
    if isinstance(field, web.FileField):
        return field if field.filename else 400
    return 500 if field else 400


def _unused_path(path: Path, content: bytes) -> Path:
    """Return the first of `name`, `name (1)`, ... that is free or already has this content."""
    candidate, number = path, 0
    while candidate.exists() and candidate.read_bytes() != content:
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return candidate


def _encode_preview(path: Path, preview_format: str, channel: str) -> tuple[bytes, str]:
    """Return the image encoded as `webp;90` or `jpeg;90` requests, and its media type."""
    kind, *rest = preview_format.split(";")
    if kind not in ("webp", "jpeg") or "a" in channel:
        kind = "webp"
    quality = int(rest[-1]) if rest and rest[-1].isdigit() else 90
    out = io.BytesIO()
    with PILImage.open(path) as image:
        plain = image.convert("RGB") if kind == "jpeg" or channel == "rgb" else image
        plain.save(out, format=kind, quality=quality)
    return out.getvalue(), f"image/{kind}"


def _extract_channel(path: Path, channel: str) -> bytes:
    """Return a PNG of only the colours or only the alpha channel."""
    out = io.BytesIO()
    with PILImage.open(path) as image:
        if channel == "rgb":
            made = image.convert("RGB")
        else:
            made = PILImage.new("RGBA", image.size)
            made.putalpha(image.convert("RGBA").getchannel("A"))
        made.save(out, format="PNG")
    return out.getvalue()


def _apply_alpha_mask(original: Path, mask: bytes) -> bytes:
    """Return a PNG with the colours and text metadata of the original and the alpha of `mask`."""
    info, out = PngInfo(), io.BytesIO()
    with PILImage.open(original) as image, PILImage.open(io.BytesIO(mask)) as alpha:
        if isinstance(image, PngImageFile):
            for key, text in image.text.items():
                info.add_text(key, text)
        made = image.convert("RGBA")
        made.putalpha(alpha.convert("RGBA").getchannel("A"))
        made.save(out, format="PNG", compress_level=4, pnginfo=info)
    return out.getvalue()
