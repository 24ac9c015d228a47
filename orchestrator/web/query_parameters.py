"""Query parameters that an operation does not have: refused, in all dialects, instead of being ignored.

A size behind the `?` of a submission would change nothing, and a misspelt filter would list everything. So
submissions and other changes take the query parameters of their documentation only, and so do lists. Requests
for one resource may have others: probes and caches add them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_origin

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel

from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.similar_names import find_similar
from orchestrator.web.openapi.operation import Access, OperationSpec, get_operation_spec

#: What clients and proxies add to every URL: the version of Azure's clients, and jQuery's cache buster.
ADDED_BY_CLIENTS = frozenset({"api-version", "_"})
_READ_METHODS = frozenset({"GET", "HEAD"})
#: Longest name of a parameter in errors.
_MAX_SHOWN_NAME = 60


def query_parameter_middleware() -> Middleware:
    """Return the middleware that refuses unknown and repeated query parameters before anything happens."""

    @web.middleware
    async def handle_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if request.query and resource is not None:
            spec = get_operation_spec(request.match_info.handler)
            if is_query_checked(request.method, resource.canonical, spec):
                check_query(request.method, request.path, [name for name, _ in request.query.items()], spec)
        return await handler(request)

    return handle_request


def is_query_checked(method: str, path: str, spec: OperationSpec) -> bool:
    """Return whether an operation refuses query parameters that its documentation does not name."""
    if method in _READ_METHODS:
        return bool(spec.query) or _is_list(path, spec.response)
    # Without a key, other services than callers send: their operator writes the URL.
    return spec != OperationSpec() and spec.access is not Access.NONE


def check_query(method: str, path: str, names: Sequence[str], spec: OperationSpec) -> None:
    """Raise InvalidRequest for a name that the operation does not have, or that is given twice."""
    known = list(spec.query)
    for name in names:
        if _is_entry(name, spec):
            continue
        shown = name[:_MAX_SHOWN_NAME]
        if name in known and names.count(name) > 1:
            raise invalid_field(shown, f"is given {names.count(name)} times in the query; send it once")
        if name not in known and name not in ADDED_BY_CLIENTS:
            raise InvalidRequest(
                f"`{shown}` is not a query parameter of {method} {path[:100]}{_hint(name, spec)}",
                code="unknown_parameter",
                param=shown,
            )


def _hint(name: str, spec: OperationSpec) -> str:
    """Return the way out: the body, the parameter that was probably meant, or all that there are."""
    if spec.body is not None:
        return ": send it in the body, or leave it out"
    if not spec.query:
        return ", which has none; leave it out"
    nearest = find_similar(name, spec.query)
    guess = f"; did you mean `{nearest[0]}`?" if nearest else "."
    return f"{guess} Its query parameters are: {', '.join(spec.query)}"


def _is_entry(name: str, spec: OperationSpec) -> bool:
    """Return whether a name is `NAME[ENTRY]` of a parameter that is an object; handlers check the entries."""
    parameter, bracket, _ = name.partition("[")
    return bool(bracket) and parameter in spec.query and spec.query[parameter].schema.get("type") == "object"


def _is_list(path: str, response: type[BaseModel] | None) -> bool:
    """Return whether an operation lists resources: its response has a list, its path names no single one."""
    if response is None or path.endswith("}"):
        return False
    return any(get_origin(field.annotation) is list for field in response.model_fields.values())
