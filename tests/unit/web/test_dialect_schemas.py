"""Every request and response body of the dialects is described for the OpenAPI document."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from orchestrator.catalog.parameters.values import MAX_SEED
from orchestrator.web import dialects
from orchestrator.web.dialects.a1111.errors import A1111ErrorResponse
from orchestrator.web.dialects.error_responses import find_error_format
from orchestrator.web.dialects.fal.errors import FalErrorResponse
from orchestrator.web.dialects.huggingface.errors import HuggingFaceErrorResponse
from orchestrator.web.dialects.pixazo.errors import PixazoErrorResponse
from orchestrator.web.dialects.pixel_factory.errors import ErrorResponse
from orchestrator.web.dialects.pixelapi.errors import PixelApiErrorResponse
from orchestrator.web.dialects.pixeldojo.errors import PixelDojoErrorResponse
from orchestrator.web.dialects.replicate.errors import ReplicateErrorResponse


def bodies() -> Iterator[type[BaseModel]]:
    """All pydantic models that the modules of the dialects define."""
    for found in pkgutil.walk_packages(dialects.__path__, f"{dialects.__name__}."):
        module = importlib.import_module(found.name)
        for _, value in inspect.getmembers(module, inspect.isclass):
            # Pydantic puts the generic bases of bodies into the module too.
            if (
                issubclass(value, BaseModel)
                and value.__module__ == module.__name__
                and "[" not in value.__name__
            ):
                yield value


@pytest.mark.parametrize("body", list(bodies()), ids=lambda body: body.__name__)
def test_every_field_of_a_body_has_a_description(body: type[BaseModel]) -> None:
    schema = body.model_json_schema()
    assert schema["description"]
    for name, field in schema.get("properties", {}).items():
        assert field.get("description"), name


def test_every_seed_of_a_request_body_has_the_range_of_seeds() -> None:
    seeds = {
        body.__name__: body.model_json_schema()["properties"]["seed"]
        for body in bodies()
        if "seed" in body.model_fields
    }
    assert len(seeds) > 5
    for name, schema in seeds.items():
        assert schema.get("maximum") == MAX_SEED, name
        integer = next(each for each in schema["anyOf"] if each["type"] == "integer")
        # -1 is a random seed where the API says so.
        assert {0, -1} & {schema.get("minimum"), integer.get("minimum")}, name


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/images/generations", ErrorResponse),
        ("/api/v1/models", ErrorResponse),
        ("/v1/models/flux-dev", ErrorResponse),
        ("/v1/image/generate", PixelApiErrorResponse),
        ("/v1/account/balance", PixelApiErrorResponse),
        ("/api/v1/models/flux-dev/run", PixelDojoErrorResponse),
        ("/api/v1/jobs/job_1", PixelDojoErrorResponse),
        ("/flux-dev/v1/dev/textToImage", PixazoErrorResponse),
        ("/v2/requests/status/flux-dev_1", PixazoErrorResponse),
        ("/v1/predictions", ReplicateErrorResponse),
        ("/v1/models/black-forest-labs/flux-schnell", ReplicateErrorResponse),
        ("/v1/account", ReplicateErrorResponse),
        ("/fal/fal-ai/flux/schnell", FalErrorResponse),
        ("/fal/queue/fal-ai/flux/requests/1/status", FalErrorResponse),
        ("/sdapi/v1/txt2img", A1111ErrorResponse),
        ("/hf/black-forest-labs/FLUX.1-schnell", HuggingFaceErrorResponse),
        ("/nowhere", ErrorResponse),
    ],
)
def test_paths_have_the_error_format_of_their_dialect(path: str, schema: type[BaseModel]) -> None:
    assert find_error_format(path).schema is schema
