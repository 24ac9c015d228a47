"""The catalogue of models: manifests, parameters, graphs, checks. Pure, but for `library`."""

from __future__ import annotations

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.library import Catalog, load_model, model_folders, write_model
from orchestrator.catalog.manifest import Estimate, Kind, Manifest, OutputNode, Weight
from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters import Parameter
from orchestrator.catalog.schema import request_schema
from orchestrator.catalog.size import parse_size

__all__ = [
    "Catalog",
    "CatalogError",
    "Estimate",
    "Kind",
    "Manifest",
    "Model",
    "OutputNode",
    "Parameter",
    "Weight",
    "load_model",
    "model_folders",
    "parse_size",
    "request_schema",
    "write_model",
]
