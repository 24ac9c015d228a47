"""The description of the format and the format are one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from orchestrator.catalog.manifest import ModelManifest, parse_manifest
from orchestrator.catalog.parameters import values
from orchestrator.catalog.parameters.files import ImageParameterBase
from orchestrator.catalog.rendering.expressions import ALLOWED_FILTERS
from orchestrator.catalog.rendering.graph import NodeMeta
from tests.support.drafts import SHIPPED

TEXT = (SHIPPED / "README.md").read_text("utf-8")


def test_the_example_is_a_manifest_with_every_field() -> None:
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    manifest = parse_manifest(example[1], Path("README.md"))
    assert set(manifest.model_fields_set) == set(ModelManifest.model_fields)
    pack, (plain, made) = manifest.requires.packs[0], manifest.weights
    assert plain.model_fields_set | made.model_fields_set == set(type(plain).model_fields)
    assert made.source is not None
    assert made.source.model_fields_set == set(type(made.source).model_fields)
    assert pack.model_fields_set == set(type(pack).model_fields)
    assert manifest.resources.model_fields_set == set(type(manifest.resources).model_fields)


def test_every_type_of_parameter_is_described_with_its_fields() -> None:
    for declaration in get_args(get_args(values.Parameter)[0]):
        type_name = get_args(declaration.model_fields["type"].annotation)[0]
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{type_name}` |"))
        own = set(declaration.model_fields) - set(values.ParameterBase.model_fields) - {"type"}
        if type_name in ("images", "seed", "image", "video", "audio", "dataset"):
            own -= {"default"}  # which is none, or nothing
        if type_name == "images":
            own -= set(ImageParameterBase.model_fields)  # "the same"
        assert all(f"`{name}`" in row for name in own), (type_name, own)


def test_words_and_filters_are_described() -> None:
    for word in ("when", "each", "bypass"):
        assert word in NodeMeta.model_fields
        assert f'`"{word}"' in TEXT
    assert " ".join(ALLOWED_FILTERS) in " ".join(TEXT.split())
