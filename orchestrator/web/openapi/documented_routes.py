"""The routes of the application that the OpenAPI document describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.web.openapi.operation import Access, OperationSpec, get_operation_spec

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Pages and endpoints of the dashboard, and the documentation itself.
UNDOCUMENTED_PATHS = re.compile(
    r"/($|billing$|keys$|operations(/|$)|sign-in$|session$|dashboard/|docs(/|$)|openapi\.json$|api/openapi$)"
)
_PATH_PARAM_PATTERN = re.compile(r"\(\?P<(\w+)>([^()]*)\)")
_ALTERNATIVES = re.compile(r"[\w-]+(\|[\w-]+)+")
#: Descriptions of path parameters, by the path segment before them.
PATH_PARAM_DESCRIPTIONS = {
    "accounts": "Account id, or id of one of its API keys.",
    "alerts": "Alert id.",
    "image": "Generation id.",
    "instances": "Instance id, as listed by `GET /admin/v1/instances`.",
    "jobs": "Job id, `job_...`.",
    "keys": "API key id (not the secret).",
    "hf": "Repository of the model, such as `black-forest-labs/FLUX.1-schnell`.",
    "fal": "Id of the app, such as `fal-ai/flux/schnell`.",
    "queue": "Id of the app, such as `fal-ai/flux/schnell`.",
    "requests": "Request id.",
    "files": "Id of an uploaded file, `file_...`.",
    "messages": "Message id, `msg_...`.",
    "predictions": "Prediction id.",
    "versions": "Id of a version.",
    "models": "Model id or alias, as listed by `GET /v1/models`.",
    "status": "Request id.",
    "videos": "Video id.",
    "wallets": "Account id, or id of one of its API keys.",
}


@dataclass(frozen=True, slots=True)
class DocumentedRoute:
    """One method at one path, and its handler."""

    method: str
    path: str
    #: Descriptions of the path parameters, by name.
    path_params: Mapping[str, str]
    handler: Callable[..., Any]

    @property
    def spec(self) -> OperationSpec:
        """Documentation that the decorator attached to the handler."""
        return get_operation_spec(self.handler)

    @property
    def access(self) -> Access:
        """Credential that the operation needs."""
        return self.spec.access or (Access.ADMIN if self.path.startswith("/admin/") else Access.KEY)

    @property
    def operation_id(self) -> str:
        """Unique id of the operation, for generated clients: `post_v1_videos`."""
        name = re.sub(r"\W+", "_", self.path).strip("_")
        return f"{self.method.lower()}_{name}"

    @property
    def tag(self) -> str:
        """Group of the operation: as documented, or the first meaningful segment of the path."""
        segments = [part for part in self.path.split("/") if part and part not in ("api", "v1", "v2")]
        default = segments[0] if segments and not segments[0].startswith("{") else "other"
        return self.spec.tag or default


def list_documented_routes(app: web.Application) -> list[DocumentedRoute]:
    """Return all documented routes of the application, by path and method."""
    return sorted(_iter_routes(app), key=lambda route: (route.path, METHODS.index(route.method)))


def methods_by_path(app: web.Application) -> dict[str, set[str]]:
    """Return the documented methods of every path that has no parameters."""
    methods: dict[str, set[str]] = {}
    for route in _iter_routes(app):
        if not route.path_params:
            methods.setdefault(route.path, set()).add(route.method)
    return methods


def _iter_routes(app: web.Application) -> Iterator[DocumentedRoute]:
    for route in app.router.routes():
        if route.method not in METHODS or route.resource is None:
            continue
        info, path = route.resource.get_info(), route.resource.canonical
        if UNDOCUMENTED_PATHS.match(path):
            continue
        pattern = info["pattern"].pattern if "pattern" in info else ""
        # Patterns with groups of their own are no list of alternatives.
        groups = dict.fromkeys(re.compile(pattern).groupindex, "")
        groups |= dict(_PATH_PARAM_PATTERN.findall(pattern))
        for concrete, names in _expand_alternatives(path, groups):
            params = {name: _describe_path_param(concrete, name) for name in names}
            yield DocumentedRoute(route.method, concrete, params, route.handler)


def _expand_alternatives(path: str, groups: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield a path for each value of parameters such as `{verb:drain|resume}`, and the other parameters."""
    for name, pattern in groups.items():
        if _ALTERNATIVES.fullmatch(pattern):
            rest = {other: text for other, text in groups.items() if other != name}
            for value in pattern.split("|"):
                yield from _expand_alternatives(path.replace(f"{{{name}}}", value), rest)
            return
    yield path, list(groups)


def _describe_path_param(path: str, name: str) -> str:
    segments = path.split("/")
    before = segments[segments.index(f"{{{name}}}") - 1] if f"{{{name}}}" in segments else ""
    return PATH_PARAM_DESCRIPTIONS.get(before, f"The {name} of the resource.")
