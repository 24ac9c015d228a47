"""The catalog of models: manifests, parameters, graphs and their validation.

Only `library`, `live_catalog` and `stand_ins` read files, and only `library` writes them.
"""

from __future__ import annotations

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.library import Catalog, find_model_folders, load_model, write_model
from orchestrator.catalog.manifest import (
    ModelKind,
    ModelManifest,
    OutputNode,
    ResourceEstimate,
    SourceWeightFile,
    WeightFile,
)
from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.json_schema import build_request_schema
from orchestrator.catalog.parameters.output_sizes import OutputSizes
from orchestrator.catalog.parameters.picture_sizes import (
    FollowImage,
    reshape_for_image,
    size_params_for_image,
)
from orchestrator.catalog.parameters.size_text import parse_size
from orchestrator.catalog.parameters.values import Parameter
from orchestrator.catalog.stand_ins import load_stand_ins

__all__ = [
    "Catalog",
    "CatalogError",
    "FollowImage",
    "Model",
    "ModelKind",
    "ModelManifest",
    "OutputNode",
    "OutputSizes",
    "Parameter",
    "ResourceEstimate",
    "SourceWeightFile",
    "WeightFile",
    "build_request_schema",
    "find_model_folders",
    "load_model",
    "load_stand_ins",
    "parse_size",
    "reshape_for_image",
    "size_params_for_image",
    "write_model",
]
