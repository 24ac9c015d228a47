"""The catalogue of models: manifests, parameters, graphs, checks. Pure, but for `library`."""

from __future__ import annotations

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.library import Catalog, load_model, model_folders, write_model
from orchestrator.catalog.manifest import Estimate, Kind, Manifest, OutputNode, Weight
from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.json_schema import request_schema
from orchestrator.catalog.parameters.output_sizes import Frame, sides_like
from orchestrator.catalog.parameters.size_text import parse_size
from orchestrator.catalog.parameters.values import Parameter
from orchestrator.catalog.stand_ins import load_stand_ins

__all__ = [
    "Catalog",
    "CatalogError",
    "Estimate",
    "Frame",
    "Kind",
    "Manifest",
    "Model",
    "OutputNode",
    "Parameter",
    "Weight",
    "load_model",
    "load_stand_ins",
    "model_folders",
    "parse_size",
    "request_schema",
    "sides_like",
    "write_model",
]
