"""The error format of each dialect, chosen by the path of the request."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ServiceError
from orchestrator.web.dialects.a1111 import errors as a1111
from orchestrator.web.dialects.comfy import errors as comfy
from orchestrator.web.dialects.fal import errors as fal
from orchestrator.web.dialects.huggingface import errors as huggingface
from orchestrator.web.dialects.pixazo import errors as pixazo
from orchestrator.web.dialects.pixel_factory import errors as pixel_factory
from orchestrator.web.dialects.pixelapi import errors as pixelapi
from orchestrator.web.dialects.pixeldojo import errors as pixeldojo
from orchestrator.web.dialects.replicate import errors as replicate
from orchestrator.web.http.response_model import ResponseModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorFormat:
    """How one dialect reports errors."""

    #: Matches the beginning of the dialect's paths.
    path_pattern: re.Pattern[str]
    #: Schema of the error body.
    schema: type[ResponseModel]
    #: Returns the HTTP status and the body of an error.
    to_error_response: Callable[[ServiceError], tuple[int, ResponseModel]]


#: The first entry whose pattern matches applies; the last one matches every path.
ERROR_FORMATS = (
    ErrorFormat(
        path_pattern=re.compile(r"/api/v2(/|$)"),
        schema=comfy.ComfyErrorResponse,
        to_error_response=comfy.to_v2_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/v2/models(/|$)"),
        schema=comfy.RouterErrorResponse,
        to_error_response=comfy.to_router_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(
            r"(/api)?/(prompt|ws|queue|history|history_v2|view|object_info|upload|interrupt|system_stats|free"
            r"|features|embeddings|extensions)(/|$)|/api/jobs(/|$)"
        ),
        schema=comfy.ComfyUiErrorResponse,
        to_error_response=comfy.to_comfyui_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(
            r"/(v1/(predictions|files|deployments|collections|hardware|trainings)(/|$)|v1/account$"
            r"|v1/models/[^/]+/[^/]+|v1/webhooks/default/|uploads/)"
        ),
        schema=replicate.ReplicateErrorResponse,
        to_error_response=replicate.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/sdapi(/|$)"),
        schema=a1111.A1111ErrorResponse,
        to_error_response=a1111.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/hf(/|$)"),
        schema=huggingface.HuggingFaceErrorResponse,
        to_error_response=huggingface.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/fal(/|$)"),
        schema=fal.FalErrorResponse,
        to_error_response=fal.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/(v1/(image|account)|outputs)(/|$)"),
        schema=pixelapi.PixelApiErrorResponse,
        to_error_response=pixelapi.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/((?!api/|admin/)[^/]+/v1(/|$)|(generateT2I|checkStatus)(/|$)|v2(/|$))"),
        schema=pixazo.PixazoErrorResponse,
        to_error_response=pixazo.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/api/v1/models/.+/run$"),
        schema=pixeldojo.PixelDojoErrorResponse,
        to_error_response=pixeldojo.to_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(r"/api/v1/(models/.+/schema$|jobs(/|$))"),
        schema=pixeldojo.PixelDojoErrorResponse,
        to_error_response=pixeldojo.to_reading_error_response,
    ),
    ErrorFormat(
        path_pattern=re.compile(""),
        schema=pixel_factory.ErrorResponse,
        to_error_response=pixel_factory.to_error_response,
    ),
)


def find_error_format(path: str) -> ErrorFormat:
    """Return the error format of the dialect that `path` belongs to."""
    return next(entry for entry in ERROR_FORMATS if entry.path_pattern.match(path))


def to_error_response(path: str, error: ServiceError) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON body of an error, in the format of the dialect of `path`."""
    status, body = find_error_format(path).to_error_response(error)
    return status, body.model_dump(exclude_unset=True)
