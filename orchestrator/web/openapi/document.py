"""The OpenAPI 3.1 document, made of the application's own routes.

To add a dialect's operations there is nothing to do here. Put `@describes(...)` of `operations` on the
handlers: the pydantic model that validates the body is the body's schema, `answer` one that the answer
follows. Addresses with alternatives (`{verb:drain|resume}`) become one operation for each; pages for people
(`HIDDEN`) are left out. Handlers nobody has described are listed with their docstring.
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
from orchestrator.web.dialects.openai.schemas import Error
from orchestrator.web.openapi.operation import Access, Operation, Value, operation_of

#: Pages for people, and what they are made of.
HIDDEN = re.compile(
    r"/($|billing$|keys$|operations$|sign-in$|session$|dashboard/|docs$|openapi\.json$|api/openapi$)"
)
NO_CONTENT = 204
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: The groups that most callers look for.
FIRST = ("images", "videos", "models", "jobs")
_REF = "#/components/schemas/{model}"
_GROUP = re.compile(r"\(\?P<(\w+)>([^()]*)\)")
_WORDS = re.compile(r"[\w-]+(\|[\w-]+)+")

Schema = dict[str, Any]
References = Mapping[type[BaseModel], Schema]

INTRODUCTION = """One host, several dialects: OpenAI's images and videos API with the fields of the Pixel \
Factory document, and further ones that are described under their own tags. A prompt that the models take is \
any Unicode text; sizes are WIDTHxHEIGHT in pixels; money is in US dollars or cents."""

SECURITY: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.NONE: [],
    Access.KEY: [{"key": []}],
    Access.GATEWAY: [{"subscription": []}, {"secret": []}, {"key": []}],
    Access.ADMIN: [{"admin": []}],
}


def _header(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name, "description": "An API key, `pk-...`."}


SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, `pk-...`."},
    "subscription": _header("Ocp-Apim-Subscription-Key"),
    "secret": _header("X-Secret-Key"),
    "admin": {"type": "http", "scheme": "bearer", "description": "The operators' token."},
}
IDEMPOTENCY = Value(
    {"type": "string", "minLength": 1, "maxLength": 255}, "The same key is one job, for ever."
)
JOB_HEADERS = {
    "X-PixelFactory-Job": {"schema": {"type": "string"}, "description": "Id of the job."},
    "X-PixelFactory-Simulated": {"schema": {"const": "true"}, "description": "The result is a simulator's."},
}


@dataclass(frozen=True, slots=True)
class Place:
    """One method at one address, with what does it."""

    method: str
    path: str
    #: Schemas of the address's variable parts.
    parts: Mapping[str, Schema]
    handler: Callable[..., Any]

    @property
    def operation(self) -> Operation:
        return operation_of(self.handler)

    @property
    def id(self) -> str:
        words = re.sub(r"\W+", "_", self.path).strip("_")
        return f"{self.method.lower()}_{words}"


def document(app: web.Application) -> dict[str, Any]:
    """The whole document."""
    places = sorted(_places(app), key=lambda place: (place.path, METHODS.index(place.method)))
    references, schemas = _schemas(places)
    paths: dict[str, dict[str, Any]] = {}
    for place in places:
        paths.setdefault(place.path, {})[place.method.lower()] = _operation(place, references)
    tags = sorted(
        {tag for path in paths.values() for entry in path.values() for tag in entry["tags"]}, key=_rank
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pixel Factory",
            "version": version("pixel-factory"),
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SCHEMES},
    }


def _places(app: web.Application) -> Iterator[Place]:
    for route in app.router.routes():
        if route.method not in METHODS or route.resource is None:
            continue
        info, path = route.resource.get_info(), route.resource.canonical
        if HIDDEN.match(path):
            continue
        pattern = info["pattern"].pattern if "pattern" in info else ""
        groups = dict(_GROUP.findall(pattern))
        for concrete, parts in _spelled_out(path, groups):
            yield Place(route.method, concrete, parts, route.handler)


def _spelled_out(path: str, groups: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Schema]]]:
    """The path once for each of its alternatives, and the schemas of what stays variable."""
    for name, pattern in groups.items():
        if _WORDS.fullmatch(pattern):
            rest = {other: text for other, text in groups.items() if other != name}
            for word in pattern.split("|"):
                yield from _spelled_out(path.replace(f"{{{name}}}", word), rest)
            return
    yield path, {name: {"type": "string"} for name in groups}


def _operation(place: Place, references: References) -> dict[str, Any]:
    said, (summary, _, description) = place.operation, (getdoc(place.handler) or "").partition("\n\n")
    access = said.access or (Access.ADMIN if place.path.startswith("/admin/") else Access.KEY)
    entry: dict[str, Any] = {
        "operationId": place.id,
        "tags": [said.tag or _tag(place.path)],
        "security": SECURITY[access],
        "responses": _responses(place, references),
    }
    if summary:
        entry["summary"] = " ".join(summary.split())
    if description:
        entry["description"] = description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in place.parts.items()
    ]
    parameters += [_parameter(name, "query", value) for name, value in said.query.items()]
    parameters += [_parameter(name, "header", value) for name, value in said.headers.items()]
    if said.job:
        parameters.append(_parameter("Idempotency-Key", "header", IDEMPOTENCY))
    if parameters:
        entry["parameters"] = parameters
    if said.body:
        media = ["application/json", *(["multipart/form-data"] if said.form else [])]
        content = {each: {"schema": references[said.body]} for each in media}
        entry["requestBody"] = {"required": True, "content": content}
    return entry


def _rank(tag: str) -> tuple[bool, int, str]:
    """What most callers look for first, what is for operators last."""
    return tag == "admin", FIRST.index(tag) if tag in FIRST else len(FIRST), tag


def _tag(path: str) -> str:
    """The first word of an address that says what it is about."""
    words = [word for word in path.split("/") if word and word not in ("api", "v1", "v2")]
    return words[0] if words and not words[0].startswith("{") else "other"


def _parameter(name: str, where: str, value: Value) -> dict[str, Any]:
    return {"name": name, "in": where, "schema": dict(value.schema), "description": value.description}


def _responses(place: Place, references: References) -> dict[str, Any]:
    said = place.operation
    schema = references[said.answer] if said.answer else {}
    answer: dict[str, Any] = {"description": "All is well."}
    if said.status != NO_CONTENT:
        content = {media: {"schema": schema if "json" in media else {}} for media in said.media}
        answer["content"] = content
    if said.job:
        answer["headers"] = JOB_HEADERS
    own = any(pattern.match(place.path) for pattern, _ in ERROR_TRANSLATORS)
    failure = {"type": "object"} if own else references[Error]
    return {
        str(said.status): answer,
        **{str(status): {"description": text} for status, text in said.also.items()},
        "default": {
            "description": "It went wrong; `Retry-After` and `X-Should-Retry` say whether to come again.",
            "content": {"application/json": {"schema": failure}},
        },
    }


def _schemas(places: list[Place]) -> tuple[References, dict[str, Schema]]:
    """How each model is referred to, and all schemas by name."""
    operations = [place.operation for place in places]
    models = {model for said in operations for model in (said.body, said.answer, Error) if model}
    named = sorted(models, key=lambda model: model.__name__)
    found, definitions = models_json_schema([(model, "validation") for model in named], ref_template=_REF)
    return {model: dict(found[model, "validation"]) for model in named}, definitions["$defs"]
