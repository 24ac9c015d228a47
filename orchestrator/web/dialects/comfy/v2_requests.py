"""Read the requests of Comfy API v2: submissions, labels and filters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest
from orchestrator.intake.own_graphs import OwnGraphRequest
from orchestrator.web.dialects.comfy.graph_jobs import LABELS_PARAM, parse_max_seconds

DIALECT_NAME = "comfy/v2"
#: Begins idempotency keys in the store: those of other dialects replay the job.
KEY_MARK = "comfy-v2 "
MAX_LABELS, MAX_FILTERS = 16, 3
MAX_LABEL_BYTES = 256
_LABEL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)
_FILTER = re.compile(r"metadata\[([^\]]*)\]", re.ASCII)
_FIELDS = ("workflow", "extra_data", "metadata")


def parse_submission(request: web.Request, fields: Mapping[str, Any]) -> OwnGraphRequest:
    """Return the graph of a submission. Raises InvalidRequest."""
    for name in fields:
        if name not in _FIELDS:
            reason = f"`{name[:60]}` is not a field of a job; its fields are: {', '.join(_FIELDS)}"
            raise InvalidRequest(reason, code="invalid_request", param=name[:60])
    if "workflow" not in fields:
        raise InvalidRequest("`workflow` is required: the graph in API format", code="invalid_request")
    _check_extra_data(fields.get("extra_data"))
    labels = parse_labels(fields.get("metadata"))
    key = parse_key(request)
    return OwnGraphRequest(
        graph=fields["workflow"],
        origin=DIALECT_NAME,
        idempotency_key=None if key is None else f"{KEY_MARK}{key}",
        max_seconds=parse_max_seconds(request),
        options={LABELS_PARAM: labels},
    )


def parse_key(request: web.Request) -> str | None:
    """Return the `Idempotency-Key`. Raises InvalidRequest for an empty, long or unprintable one."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= 255 and all(" " <= letter <= "~" for letter in key)):
        raise InvalidRequest(
            "`Idempotency-Key` must have 1 to 255 printable ASCII characters",
            code="invalid_request",
            param="Idempotency-Key",
        )
    return key


def parse_labels(value: Any) -> dict[str, str]:
    """Return the labels of a job. Raises InvalidRequest (`metadata_invalid`)."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid_label("must be an object of texts")
    if len(value) > MAX_LABELS:
        raise _invalid_label(f"has {len(value)} labels; at most {MAX_LABELS} are allowed")
    for name, text in value.items():
        if not _LABEL_NAME.fullmatch(name):
            raise _invalid_label(f"{name[:60]!r}: names have 1 to 40 letters, digits and `_.-`")
        if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) > MAX_LABEL_BYTES:
            raise _invalid_label(f"{name}: must be a text of at most {MAX_LABEL_BYTES} bytes")
        if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in text):
            raise _invalid_label(f"{name}: must not hold control or direction characters")
    return dict(value)


def parse_filters(request: web.Request) -> dict[str, str]:
    """Return the labels that listed jobs must have. Raises InvalidRequest (`invalid_metadata_filter`)."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if not name.startswith("metadata"):
            continue
        match = _FILTER.fullmatch(name)
        if match is None or not _LABEL_NAME.fullmatch(match[1]) or match[1] in found:
            raise InvalidRequest(
                f"`{name[:60]}` must be `metadata[NAME]`, each name once", code="invalid_metadata_filter"
            )
        found[match[1]] = value
    if len(found) > MAX_FILTERS:
        raise InvalidRequest(
            f"at most {MAX_FILTERS} labels filter a list (got {len(found)})", code="invalid_metadata_filter"
        )
    return found


def _check_extra_data(value: Any) -> None:
    """Accept the keys of Comfy's partners, which are never stored."""
    known = {"api_key_comfy_org", "auth_token_comfy_org"}
    if value is not None and (not isinstance(value, dict) or not value.keys() <= known):
        raise InvalidRequest(
            f"`extra_data` may only have {' and '.join(sorted(known))}",
            code="invalid_request",
            param="extra_data",
        )


def _invalid_label(reason: str) -> InvalidRequest:
    return InvalidRequest(f"`metadata` {reason}", code="metadata_invalid", param="metadata")
