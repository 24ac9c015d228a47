"""Uploaded files as inputs: the address of a file's description stands for the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import NotFound, invalid_field
from orchestrator.intake.uploaded_files import UploadedFiles
from orchestrator.web.dialects.replicate.translation import FILE_URL

#: Stands for the origin of the service in links that it reads itself.
_OWN_ORIGIN = "http://uploads.invalid"


async def replace_file_urls(
    fields: Mapping[str, Any], account_id: str, files: UploadedFiles
) -> dict[str, Any]:
    """Return an input with links to the account's files in place of `.../v1/files/ID`.

    Raises InvalidRequest for a file that the account does not have.
    """
    return {name: await _replace(name, value, account_id, files) for name, value in fields.items()}


async def _replace(name: str, value: Any, account_id: str, files: UploadedFiles) -> Any:
    if isinstance(value, list):
        return [await _replace(name, each, account_id, files) for each in value]
    found = FILE_URL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    try:
        file = await files.get(account_id, found["id"])
    except NotFound as error:
        raise invalid_field(
            name,
            f"names no uploaded file of the account (got {found['id']});"
            " files are deleted after a day: upload it by POST /v1/files",
        ) from error
    return _OWN_ORIGIN + files.path_of(account_id, file.id, file.name)
