"""The OpenAPI 3.1 document, made of the application's own routes.

To add a dialect's operations there is nothing to do here. Put `@describes(...)` of `operations` on the
handlers: the pydantic model that validates the body is the body's schema, `answer` one that the answer
follows. Addresses with alternatives (`{verb:drain|resume}`) become one operation for each; pages for people
(`UNDOCUMENTED_PATHS`) are left out. Handlers nobody has described are listed with their docstring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.web.dialects import ERROR_TRANSLATORS
from orchestrator.web.dialects.openai.schemas import ErrorResponse
from orchestrator.web.openapi.operation import Access, OperationSpec, ParameterSpec, get_operation_spec

#: Pages for people, and what they are made of.
UNDOCUMENTED_PATHS = re.compile(
    r"/($|billing$|keys$|operations$|sign-in$|session$|dashboard/|docs$|openapi\.json$|api/openapi$)"
)
NO_CONTENT = 204
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: The groups that most callers look for.
LEADING_TAGS = ("images", "videos", "models", "jobs")
_SCHEMA_REF_TEMPLATE = "#/components/schemas/{model}"
_PATH_PARAM_PATTERN = re.compile(r"\(\?P<(\w+)>([^()]*)\)")
_ALTERNATIVES = re.compile(r"[\w-]+(\|[\w-]+)+")

JsonSchema = dict[str, Any]
SchemaRefs = Mapping[type[BaseModel], JsonSchema]

API_DESCRIPTION = """One host, several dialects: OpenAI's images and videos API with the fields of the Pixel \
Factory document, and further ones that are described under their own tags. A prompt that the models take is \
any Unicode text; sizes are WIDTHxHEIGHT in pixels; money is in US dollars or cents."""

SECURITY_BY_ACCESS: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.NONE: [],
    Access.KEY: [{"key": []}],
    Access.GATEWAY: [{"subscription": []}, {"secret": []}, {"key": []}],
    Access.ADMIN: [{"admin": []}],
}


def _api_key_header_scheme(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name, "description": "An API key, `pk-...`."}


SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, `pk-...`."},
    "subscription": _api_key_header_scheme("Ocp-Apim-Subscription-Key"),
    "secret": _api_key_header_scheme("X-Secret-Key"),
    "admin": {"type": "http", "scheme": "bearer", "description": "The operators' token."},
}
IDEMPOTENCY_KEY_PARAM = ParameterSpec(
    {"type": "string", "minLength": 1, "maxLength": 255}, "The same key is one job, for ever."
)
JOB_RESPONSE_HEADERS = {
    "X-PixelFactory-Job": {"schema": {"type": "string"}, "description": "Id of the job."},
    "X-PixelFactory-Simulated": {"schema": {"const": "true"}, "description": "The result is a simulator's."},
}


@dataclass(frozen=True, slots=True)
class DocumentedRoute:
    """One method at one address, with what does it."""

    method: str
    path: str
    #: Schemas of the address's variable parts.
    path_params: Mapping[str, JsonSchema]
    handler: Callable[..., Any]

    @property
    def spec(self) -> OperationSpec:
        return get_operation_spec(self.handler)

    @property
    def operation_id(self) -> str:
        words = re.sub(r"\W+", "_", self.path).strip("_")
        return f"{self.method.lower()}_{words}"


def build_openapi_document(app: web.Application) -> dict[str, Any]:
    """The whole document."""
    places = sorted(_documented_routes(app), key=lambda place: (place.path, METHODS.index(place.method)))
    references, schemas = _build_schemas(places)
    paths: dict[str, dict[str, Any]] = {}
    for place in places:
        paths.setdefault(place.path, {})[place.method.lower()] = _build_operation(place, references)
    tags = sorted(
        {tag for path in paths.values() for entry in path.values() for tag in entry["tags"]},
        key=_tag_sort_key,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pixel Factory",
            "version": version("pixel-factory"),
            "description": API_DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES},
    }


def _documented_routes(app: web.Application) -> Iterator[DocumentedRoute]:
    for route in app.router.routes():
        if route.method not in METHODS or route.resource is None:
            continue
        info, path = route.resource.get_info(), route.resource.canonical
        if UNDOCUMENTED_PATHS.match(path):
            continue
        pattern = info["pattern"].pattern if "pattern" in info else ""
        groups = dict(_PATH_PARAM_PATTERN.findall(pattern))
        for concrete, parts in _expand_alternatives(path, groups):
            yield DocumentedRoute(route.method, concrete, parts, route.handler)


def _expand_alternatives(path: str, groups: Mapping[str, str]) -> Iterator[tuple[str, dict[str, JsonSchema]]]:
    """The path once for each of its alternatives, and the schemas of what stays variable."""
    for name, pattern in groups.items():
        if _ALTERNATIVES.fullmatch(pattern):
            rest = {other: text for other, text in groups.items() if other != name}
            for word in pattern.split("|"):
                yield from _expand_alternatives(path.replace(f"{{{name}}}", word), rest)
            return
    yield path, {name: {"type": "string"} for name in groups}


def _build_operation(route: DocumentedRoute, schema_refs: SchemaRefs) -> dict[str, Any]:
    said, (summary, _, description) = route.spec, (getdoc(route.handler) or "").partition("\n\n")
    access = said.access or (Access.ADMIN if route.path.startswith("/admin/") else Access.KEY)
    entry: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [said.tag or _default_tag(route.path)],
        "security": SECURITY_BY_ACCESS[access],
        "responses": _build_responses(route, schema_refs),
    }
    if summary:
        entry["summary"] = " ".join(summary.split())
    if description:
        entry["description"] = description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in route.path_params.items()
    ]
    parameters += [_build_parameter(name, "query", value) for name, value in said.query.items()]
    parameters += [_build_parameter(name, "header", value) for name, value in said.headers.items()]
    if said.creates_job:
        parameters.append(_build_parameter("Idempotency-Key", "header", IDEMPOTENCY_KEY_PARAM))
    if parameters:
        entry["parameters"] = parameters
    if said.body:
        media = ["application/json", *(["multipart/form-data"] if said.accepts_form else [])]
        content = {each: {"schema": schema_refs[said.body]} for each in media}
        entry["requestBody"] = {"required": True, "content": content}
    return entry


def _tag_sort_key(tag: str) -> tuple[bool, int, str]:
    """What most callers look for first, what is for operators last."""
    return tag == "admin", LEADING_TAGS.index(tag) if tag in LEADING_TAGS else len(LEADING_TAGS), tag


def _default_tag(path: str) -> str:
    """The first word of an address that says what it is about."""
    words = [word for word in path.split("/") if word and word not in ("api", "v1", "v2")]
    return words[0] if words and not words[0].startswith("{") else "other"


def _build_parameter(name: str, location: str, spec: ParameterSpec) -> dict[str, Any]:
    return {"name": name, "in": location, "schema": dict(spec.schema), "description": spec.description}


def _build_responses(route: DocumentedRoute, schema_refs: SchemaRefs) -> dict[str, Any]:
    said = route.spec
    schema = schema_refs[said.response] if said.response else {}
    answer: dict[str, Any] = {"description": "All is well."}
    if said.status != NO_CONTENT:
        content = {media: {"schema": schema if "json" in media else {}} for media in said.content_types}
        answer["content"] = content
    if said.creates_job:
        answer["headers"] = JOB_RESPONSE_HEADERS
    own = any(pattern.match(route.path) for pattern, _ in ERROR_TRANSLATORS)
    failure = {"type": "object"} if own else schema_refs[ErrorResponse]
    return {
        str(said.status): answer,
        **{str(status): {"description": text} for status, text in said.other_responses.items()},
        "default": {
            "description": "It went wrong; `Retry-After` and `X-Should-Retry` say whether to come again.",
            "content": {"application/json": {"schema": failure}},
        },
    }


def _build_schemas(routes: list[DocumentedRoute]) -> tuple[SchemaRefs, dict[str, JsonSchema]]:
    """How each model is referred to, and all schemas by name."""
    operations = [place.spec for place in routes]
    models = {model for said in operations for model in (said.body, said.response, ErrorResponse) if model}
    named = sorted(models, key=lambda model: model.__name__)
    found, definitions = models_json_schema(
        [(model, "validation") for model in named], ref_template=_SCHEMA_REF_TEMPLATE
    )
    return {model: dict(found[model, "validation"]) for model in named}, definitions["$defs"]
